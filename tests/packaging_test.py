"""The installed package: complete, and of use from any folder."""

import os
from pathlib import Path
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = [
  "bamjax",
  "LICENSE",
  "pyproject.toml",
  "README.md",
  "requirements.txt",
]

BUILD = """
import sys

from setuptools import build_meta

build_meta.build_wheel(sys.argv[1])
"""

USE = """
import bamjax

print(bamjax.__file__)
model, variables = bamjax.load_weights("pan-bam-x2")
print(type(model).__name__, len(variables["params"]) > 0)
"""


def python(program, *arguments, **settings):
  return subprocess.run(
    [sys.executable, "-c", program, *arguments],
    capture_output=True,
    text=True,
    timeout=300,
    **settings,
  )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  setuptools = pytest.importorskip("setuptools", reason="builds the wheel")
  if int(setuptools.__version__.split(".")[0]) < 77:
    pytest.skip("pyproject.toml asks for setuptools 77")
  # A copy: building leaves folders behind, and reads those of former builds.
  source = tmp_path_factory.mktemp("source")
  for name in SOURCES:
    if (ROOT / name).is_dir():
      ignored = shutil.ignore_patterns("__pycache__")
      shutil.copytree(ROOT / name, source / name, ignore=ignored)
    else:
      shutil.copy(ROOT / name, source)
  folder = tmp_path_factory.mktemp("wheel")
  done = python(BUILD, str(folder), cwd=source)
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
  assert packed == ours


def test_the_wheel_alone_loads_the_shipped_weights(wheel, tmp_path):
  installed = tmp_path / "site"
  with zipfile.ZipFile(wheel) as archive:
    archive.extractall(installed)
  environment = {**os.environ, "PYTHONPATH": str(installed)}
  done = python(USE, cwd="/", env=environment)
  assert done.returncode == 0, done.stderr
  assert done.stdout.split() == [
    str(installed / "bamjax" / "__init__.py"),
    "PAN",
    "True",
  ]
