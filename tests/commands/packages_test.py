"""Missing packages are named once, with the extra that brings them all."""

import dataclasses
import sys

import pytest

from bamjax import errors
from bamjax.commands import ablate
from bamjax.commands import benchmark
from bamjax.commands import cli
from bamjax.commands import export
from bamjax.commands import report
from bamjax.commands import train
from bamjax.errors import UserError

# All modules that only extras ask for; Flax brings Orbax, too.
OPTIONAL = (
  "orbax.checkpoint",
  "tensorboardX",
  "optax",
  "jinja2",
  "matplotlib",
  "torch",
  "jax2onnx",
  "onnx",
  "onnxruntime",
)


@pytest.fixture(autouse=True)
def bare(monkeypatch):
  """Nothing but what the package itself requires."""
  for name in OPTIONAL:
    monkeypatch.setitem(sys.modules, name, None)
  monkeypatch.setattr(errors, "_package", lambda: "bamjax")


@pytest.mark.parametrize(
  ("module", "extras"),
  [(train, "train"), (ablate, "train,report")],
  ids=["train", "ablate"],
)
def test_a_command_with_a_recipe_names_its_extras(module, extras, capsys):
  with pytest.raises(SystemExit):
    cli.parse(module.Options, "tool", ["--seed=1"])
  error = capsys.readouterr().err
  assert error.endswith(f': pip install "bamjax[{extras}]"\n')
  assert error.count("pip") == error.count("\n") == 1


@pytest.mark.parametrize(
  ("module", "options", "extras"),
  [
    (benchmark, {}, "benchmark"),
    (benchmark, {"rival": "super-image"}, "benchmark,torch"),
    (report, {"weights": ["pan-bam-x2"]}, "report"),
    (report, {"run_dir": ["."]}, "report,train"),
    (export, {"weights": "pan-bam-x2", "output": "a.onnx"}, "onnx"),
    (export, {"run_dir": ".", "output": "a.onnx"}, "onnx,train"),
    (export, {"run_dir": ".", "output": "a.safetensors"}, "train"),
  ],
)
def test_a_command_names_all_extras_at_once(
  module, options, extras, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(UserError) as caught:
    module.run(dataclasses.replace(module.Options(), **options))
  assert str(caught.value).endswith(f': pip install "bamjax[{extras}]"')


def test_a_clone_is_named_by_its_folder(monkeypatch):
  monkeypatch.undo()
  assert (errors.Path(errors._package()) / "pyproject.toml").is_file()
