"""The documentation's commands, run on small files of the names that it uses.

Left out: what trains for longer than a test may take or measures speed, which
tests/docs_test.py only parses, and ONNX, which has an environment of its own.
"""

import importlib
import shutil

import jax
import numpy as np
from PIL import Image
import pytest

import bamjax
from bamjax.commands import cli
import docs_test

pytestmark = pytest.mark.slow

_LEFT_OUT = [
  # Parts of a command, which say nothing of what to work on.
  ["python", "evaluate.py", "--protocol=matlab,bam,ntire"],
  ["python", "upscale.py"],
  # Counts the operations of all backbones; tests/evaluation has its tables.
  ["python", "evaluate.py", "--tables", "--output=results"],
]
_NETWORKS = {
  "imdn_x2": ("imdn", 2),
  "imdn_x4": ("imdn", 4),
  "pan_x2": ("pan", 2),
  "a": ("imdn", 2),
  "b": ("pan", 2),
  "B": ("pan", 2),
}
_SMALL = {
  "imdn": {"blocks": 1, "features": 16, "distilled": 4},
  "pan": {"blocks": 1, "features": 8, "up_features": 8},
}


def commands(name):
  """The distinct commands of one kind, in the order of the pages."""
  found = {tuple(words): words for words in docs_test.commands()}
  return [
    words
    for words in found.values()
    if words[:2] == ["python", f"{name}.py"]
    and words not in _LEFT_OUT
    and not words[-1].endswith(".onnx")
  ]


@pytest.fixture
def folder(tmp_path, monkeypatch, finished_run):
  """A folder with all files that the commands name; the current one."""
  rng = np.random.default_rng(0)

  def draw(path, side):
    path.parent.mkdir(exist_ok=True)
    pixels = rng.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((side, side), Image.BICUBIC).save(path)

  for path in ("photo.jpg", "scan.png", "photos/x.png", "scans/y.png"):
    draw(tmp_path / path, 24)
  for test_set in ("Set5", "Set14", "mine", "FOLDER", "my_images"):
    for name in ("x", "y"):
      draw(tmp_path / test_set / f"{name}.png", 48)
  shutil.copytree(tmp_path / "my_images", tmp_path / "other_images")
  for name, (model, scale) in _NETWORKS.items():
    module = bamjax.create_model(model, "native", scale, **_SMALL[model])
    x = np.zeros((1, 8, 8, 3), np.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), shapes)
    bamjax.save_weights(tmp_path / f"{name}.safetensors", module, variables)
  for run in ("A", "pan-bam-x2-sample", "pan-ca-x2-sample"):
    shutil.copytree(finished_run, tmp_path / "runs" / run)
  shutil.copytree(finished_run, tmp_path / "runs/tiny-bam-x2-sample")
  shutil.copytree(finished_run, tmp_path / "RUN")
  monkeypatch.chdir(tmp_path)
  return tmp_path


@pytest.mark.parametrize("name", ["upscale", "evaluate", "report", "export"])
def test_commands_run(name, folder, capsys):
  module = importlib.import_module(f"bamjax.commands.{name}")
  found = commands(name)
  assert len(found) >= 3
  for words in found:
    options = cli.parse(module.Options, name, words[2:])
    assert not module.run(options), (words, capsys.readouterr().err)
  made = {
    "upscale": "large/photo_x4.png",
    "evaluate": "results/results.md",
    "report": "report.html",
    "export": "pan.stablehlo",
  }
  assert (folder / made[name]).stat().st_size > 1000
