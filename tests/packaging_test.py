"""The package as users install it: complete, light, and used from anywhere."""

import os
from pathlib import Path
import shutil
import subprocess
import sys
import tomllib
import zipfile

import numpy as np
from PIL import Image
import pytest

from bamjax.commands import config_flag

ROOT = Path(__file__).parent.parent
SOURCES = ["bamjax", "configs", "LICENSE", "pyproject.toml", "README.md"]

BUILD = """
import sys

from setuptools import build_meta

build_meta.build_wheel(sys.argv[1])
"""

USE = """
import bamjax
from bamjax.commands import config_flag

print(bamjax.__file__)
model, variables = bamjax.load_weights("pan-bam-x2")
print(type(model).__name__, len(variables["params"]) > 0)
print(*config_flag.recipe_names(), config_flag.find_recipe("quickstart"))
"""


def python(*arguments, executable=sys.executable, **settings):
  return subprocess.run(
    [executable, *map(str, arguments)],
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
    **settings,
  )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  setuptools = pytest.importorskip("setuptools", reason="builds the wheel")
  if int(setuptools.__version__.split(".")[0]) < 77:
    pytest.skip("pyproject.toml needs setuptools 77")
  # A copy: building leaves folders behind, and reads those of former builds.
  source = tmp_path_factory.mktemp("source")
  for name in SOURCES:
    if (ROOT / name).is_dir():
      ignored = shutil.ignore_patterns("__pycache__")
      shutil.copytree(ROOT / name, source / name, ignore=ignored)
    else:
      shutil.copy(ROOT / name, source)
  folder = tmp_path_factory.mktemp("wheel")
  done = python("-c", BUILD, folder, cwd=source)
  assert done.returncode == 0, done.stderr
  (path,) = folder.glob("*.whl")
  return path


def test_the_wheel_holds_every_file_of_the_package(wheel):
  with zipfile.ZipFile(wheel) as archive:
    packed = {name for name in archive.namelist() if name.startswith("bamjax/")}
  ours = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "bamjax").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
  }
  configs = {
    f"bamjax/configs/{path.name}" for path in ROOT.glob("configs/*.py")
  }
  assert packed == ours | configs


def test_the_wheel_alone_has_shipped_weights_and_recipes(wheel, tmp_path):
  installed = tmp_path / "site"
  with zipfile.ZipFile(wheel) as archive:
    archive.extractall(installed)
  environment = {**os.environ, "PYTHONPATH": str(installed)}
  done = python("-c", USE, cwd="/", env=environment)
  assert done.returncode == 0, done.stderr
  package = installed / "bamjax"
  names = " ".join(config_flag.recipe_names())
  assert done.stdout.splitlines() == [
    str(package / "__init__.py"),
    "PAN True",
    f"{names} {package / 'configs' / 'quickstart.py'}",
  ]


def test_requirements_are_those_of_the_package():
  requirements = pytest.importorskip("packaging.requirements")

  def parsed(lines):
    texts = (line.partition("#")[0].strip() for line in lines)
    return {
      (r.name, str(r.specifier), str(r.marker))
      for r in map(requirements.Requirement, filter(None, texts))
    }

  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  extras = project["optional-dependencies"]
  groups = [extras[name] for name in ("train", "report", "benchmark", "dev")]
  listed = (ROOT / "requirements.txt").read_text().splitlines()
  assert parsed(listed) == parsed(sum(groups, project["dependencies"]))
  onnx = (ROOT / "tests" / "requirements-onnx.txt").read_text().splitlines()
  assert parsed(onnx) == parsed(extras["onnx"])
  docs = (ROOT / "docs" / "requirements.txt").read_text().splitlines()
  assert parsed(docs) == parsed(extras["docs"])


@pytest.fixture(scope="module")
def bare(wheel, tmp_path_factory):
  """The Python of an environment with the wheel and what it requires."""
  folder = tmp_path_factory.mktemp("bare")
  pip = ("-m", "pip", "--quiet", "--disable-pip-version-check")
  probe = ("download", "--no-deps", "--timeout=10", "--retries=1", "absl-py")
  done = python(*pip, *probe, f"--dest={folder}")
  if done.returncode:
    pytest.skip(f"no package registry: {done.stderr.strip()[-200:]}")
  done = python("-m", "venv", "--without-pip", folder / "venv")
  assert done.returncode == 0, done.stderr
  scripts = "Scripts" if sys.platform == "win32" else "bin"
  executable = folder / "venv" / scripts / "python"
  # Byte code would take as long as the installation itself.
  into = (f"--python={executable}", "install", "--no-compile", wheel)
  done = python(*pip, *into)
  assert done.returncode == 0, done.stderr
  return executable


@pytest.mark.slow
def test_a_bare_installation_upscales_and_names_what_training_needs(
  bare, tmp_path
):
  # As users run it: none of the settings of these tests.
  environment = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("XLA_", "JAX_", "PYTHON"))
  }
  image = np.random.default_rng(0).integers(0, 256, (24, 31, 3), np.uint8)
  Image.fromarray(image).save(tmp_path / "photo.png")

  def call(*arguments):
    return python(*arguments, executable=bare, cwd=tmp_path, env=environment)

  command = bare.with_name("bamjax")
  done = subprocess.run(
    [command, "upscale", "photo.png"],
    cwd=tmp_path,
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  done = call(ROOT / "upscale.py", "photo.png", "-o", "clone.png")
  assert done.returncode == 0, done.stderr
  ours = (tmp_path / "results" / "photo_x2.png").read_bytes()
  assert ours == (tmp_path / "clone.png").read_bytes()
  output = tmp_path / "pan.stablehlo"
  done = call("-m", "bamjax", "export", "--weights=pan-bam-x2", f"-o={output}")
  assert done.returncode == 0, done.stderr
  assert output.stat().st_size > 500_000
  for arguments, message in (
    (
      ["train"],
      "bamjax train: error: training needs tensorboardX: pip install"
      ' "bamjax[train]"\n',
    ),
    (
      ["report", "--weights=pan-bam-x2"],
      "bamjax report: error: a report needs jinja2, matplotlib: pip install"
      ' "bamjax[report]"\n',
    ),
    (
      ["benchmark"],
      "bamjax benchmark: error: a benchmark needs matplotlib: pip install"
      ' "bamjax[benchmark]"\n',
    ),
  ):
    done = call("-m", "bamjax", *arguments)
    assert (done.returncode, done.stderr) == (2, message)
