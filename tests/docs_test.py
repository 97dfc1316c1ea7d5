"""The documentation: what it must hold. CI builds it, too."""

import importlib
import importlib.util
import inspect
from pathlib import Path
import re
import shlex
import subprocess
import sys

from flax import linen as nn
import jax
import numpy as np
import pytest

import bamjax
from bamjax import complexity
from bamjax import pretrained
from bamjax.commands import ablate
from bamjax.commands import benchmark
from bamjax.commands import cli
from bamjax.commands import report
from bamjax.commands import upscale
from bamjax.layers import Attention
from bamjax.layers import ATTENTIONS
from bamjax.models import registry
import house_test

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
PUBLIC = (
  *("bamjax", "bamjax.layers", "bamjax.models", "bamjax.inference"),
  *("bamjax.metrics", "bamjax.complexity", "bamjax.exporting"),
  *("bamjax.networks", "bamjax.pretrained", "bamjax.benchmarking"),
)


def resolve(name):
  module, _, attribute = name.rpartition(".")
  return getattr(importlib.import_module(module), attribute)


def public_names(module):
  """`__all__`, or else the functions and classes that a module defines."""
  if hasattr(module, "__all__"):
    return module.__all__
  return [
    name
    for name, value in vars(module).items()
    if not name.startswith("_")
    and (inspect.isfunction(value) or inspect.isclass(value))
    and value.__module__ == module.__name__
  ]


@pytest.fixture(scope="module")
def documented():
  """The objects on the API page, by identity."""
  found = {}
  page = (DOCS / "api.md").read_text()
  for kind, name, below in re.findall(
    r"^\.\. auto(\w+):: (\S+)\n((?:   :.*\n)*)", page, re.MULTILINE
  ):
    if kind != "module":
      found[id(resolve(name))] = name
    elif ":members:" in below:
      module = importlib.import_module(name)
      found |= {id(getattr(module, n)): n for n in public_names(module)}
  return found


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_in_the_reference(name, documented):
  module = importlib.import_module(name)
  missing = [
    n for n in public_names(module) if id(getattr(module, n)) not in documented
  ]
  assert not missing
  assert public_names(module)


@pytest.mark.parametrize(
  "page", sorted(DOCS.glob("*.md")), ids=lambda p: p.stem
)
def test_every_page_is_in_the_contents(page):
  index = (DOCS / "index.md").read_text()
  assert page.stem == "index" or re.search(rf"^{page.stem}$", index, re.M)


def blocks(page, language):
  """The code blocks of a page."""
  pattern = rf"^```{language}\n(.*?)^```"
  return re.findall(pattern, page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
  "page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.stem
)
def test_code_runs(page, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  bamjax.list_models()
  # It may register a backbone of its own.
  known = dict(registry._BACKBONES)
  monkeypatch.setattr(registry, "_BACKBONES", known)
  names = {"__name__": "__main__"}
  for block in blocks(page, "python"):
    exec(compile(block, str(page), "exec"), names)
  CHECKS[page.stem](names)


def test_the_backbone_may_be_added_as_it_is(tmp_path, monkeypatch):
  code = blocks(DOCS / "backbone.md", "python")[0]
  name = "bamjax/models/tiny.py"
  for command in (["check"], ["format", "--check"]):
    done = subprocess.run(
      [sys.executable, "-m", "ruff", *command, "--stdin-filename", name, "-"],
      cwd=ROOT,
      input=code,
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
  monkeypatch.setattr(house_test, "PACKAGE", tmp_path / "bamjax")
  (tmp_path / name).parent.mkdir(parents=True)
  (tmp_path / name).write_text(code)
  house_test.test_no_module_imports_upward(tmp_path / name)
  house_test.test_public_functions_have_types(tmp_path / name)
  house_test.test_the_library_logs_through_its_own_loggers(tmp_path / name)


def test_git_ignores_what_commands_write_by_default():
  if not (ROOT / ".git").exists():
    pytest.skip("not a clone")
  written = [
    *("runs/pan-bam-x2-sample/log.csv", f"{upscale.Options.output}/a.png"),
    *(f"{ablate.Options.output}/ablation.json", report.Options.output),
    *(benchmark.Options.output, "benchmark.png"),
    # Of `python -m sphinx docs site`.
    *("site/index.html", "jupyter_execute/tutorials"),
  ]
  done = subprocess.run(
    ["git", "check-ignore", *written],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.stdout.split() == written, done.stderr


def check_readme(names):
  assert names["larger"].shape == (120, 160, 3)
  x = np.ones((1, 8, 8, 32), np.float32)
  y, _ = names["Block"]().init_with_output(jax.random.key(0), x)
  assert y.shape == x.shape


def check_library(names):
  check_readme(names)
  assert names["sr"].shape == (1, 120, 160, 3)
  x = np.ones((1, 8, 8, 32), np.float32)
  assert names["NnxBlock"](32, names["nnx"].Rngs(0))(x).shape == x.shape
  both = ["channel_weights", "spatial_weights"]
  assert sorted(names["maps"]["up_0_attention"]) == both


def check_backbone(names):
  assert names["upscale"](np.zeros((8, 9, 3), np.uint8)).shape == (24, 27, 3)
  assert names["module"].features == 64


def check_start(names):
  assert names["larger"].shape == (120, 160, 3)


def check_attention(names):
  weights = names["maps"]["up_0_attention"]["spatial_weights"]
  assert weights.shape == (1, 120, 160, 1)


def check_export(names):
  assert names["sr"].shape == (1, 120, 160, 3)


def check_weights(names):
  assert names["card"]["images"][0].keys() >= {"file", "licence", "author"}
  own = bamjax.read_card("mine.safetensors")
  assert own["licence"] == "MIT" and own["network"]["attn"] == "bam"


CHECKS = {
  "README": check_readme,
  "library": check_library,
  "start": check_start,
  "backbone": check_backbone,
  "attention": check_attention,
  "export": check_export,
  "weights": check_weights,
}


def test_scores_of_shipped_weights_are_those_of_their_cards():
  text = (DOCS / "weights.md").read_text()
  row = r"^\| `([\w-]+)`(?:, (JPEG \d+))? \| ([\d,]+) \|(.*)\|$"
  found = re.findall(row, text, re.MULTILINE)
  assert sorted({name for name, *_ in found}) == pretrained.names()
  for name, jpeg, parameters, cells in found:
    module, variables = bamjax.load_weights(name)
    count = complexity.parameters(module, variables)
    assert f"{count:,}" == parameters
    for test_set, cell in zip(
      ("Set5", "Set14", "BSD100"), cells.split("|")[:3], strict=True
    ):
      degraded = f", {jpeg.lower().replace(' ', ':')}" if jpeg else ""
      scores = bamjax.read_card(name)["scores"][test_set + degraded]
      ours, bicubic = scores["psnr_y"], scores["bicubic_psnr_y"]
      assert cell.strip() == f"{ours:.2f} ({bicubic:.2f})", (name, test_set)


def test_the_table_of_attentions_is_right():
  text = (DOCS / "attention.md").read_text()
  rows = re.findall(r"^\| `(\w+)` \|.*\| (\d+) \|.*\|$", text, re.MULTILINE)
  assert sorted(name for name, _ in rows) == sorted(ATTENTIONS)
  x = np.zeros((1, 8, 8, 64), np.float32)
  for name, printed in rows:

    class Net(nn.Module):
      kind: str

      @nn.compact
      def __call__(self, x):
        return Attention(self.kind, 16)()(x)

    variables = jax.eval_shape(Net(name).init, jax.random.key(0), x)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert count == int(printed), name


def commands():
  """Program and arguments of each command in the documentation."""
  for page in PAGES:
    text = page.read_text()
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines += re.findall(r"`(python [^`]+)`", text.replace("\n", " "))
    for line in lines:
      for part in line.replace("…", "").split("&&"):
        words = shlex.split(part, comments=True)
        if words[:1] == ["srun"]:
          words.pop(0)
        if words[:1] in (["python"], ["bamjax"]) and len(words) > 1:
          yield words


@pytest.mark.parametrize(
  "words", dict.fromkeys(map(tuple, commands())), ids=" ".join
)
def test_commands_are_valid(words, capsys):
  program, name, *arguments = words
  if program == "python" and name == "-m":
    name, *arguments = arguments
    if name.partition(".")[0] in ("benchmarks", "docs"):
      assert importlib.util.find_spec(name)
      return
    if name != "bamjax":
      assert name in ("pytest", "sphinx")
      return
    name, *arguments = arguments
  if "/" in name:
    assert (ROOT / name).is_file()
    return
  if [name, *arguments] == ["--version"]:
    return
  name = name.removesuffix(".py")
  assert name in cli.COMMANDS
  module = importlib.import_module(f"bamjax.commands.{name}")
  try:
    cli.parse(module.Options, name, arguments)
  except SystemExit:
    pytest.fail(capsys.readouterr().err)
