"""Which imports wait until they are needed, and which no module may need."""

import os
from pathlib import Path
import subprocess
import sys

_HEAVY = """
import sys


def check(*packages):
  found = set(packages) & set(sys.modules)
  assert not found, found


import bamjax
from bamjax.commands import cli
for name in cli.COMMANDS:
  __import__(f"bamjax.commands.{name}")
check("jax", "numpy")

bamjax.BAM, bamjax.Upscaler, bamjax.attention_maps, bamjax.list_models()
bamjax.load_weights("pan-bam-x2")
import bamjax.metrics
import bamjax.upscaling.batch, bamjax.evaluation.suite, bamjax.exporting
import bamjax.benchmarking
bamjax.benchmarking.default_plan()
training = "orbax.checkpoint", "optax", "tensorboardX"
check(*training, "tensorflow", "torch", "matplotlib", "jinja2")

import bamjax.runs.experiment
check("orbax.checkpoint", "optax", "tensorboardX")
import bamjax.training.loop, bamjax.evaluation.paper
check("tensorflow", "tensorflow_datasets", "matplotlib")
"""

_WINDOWS = """
import importlib.util, os, pkgutil, sys, types

# The benchmarks' rival, which needs torch; torch is optional.
SKIPPED = ()
if importlib.util.find_spec("torch") is None:
  SKIPPED = tuple(
    f"bamjax.benchmarking.{name}" for name in ("imdn_torch", "super_image")
  )


def import_all():
  import bamjax

  for module in pkgutil.walk_packages(bamjax.__path__, "bamjax."):
    if module.name not in SKIPPED:
      importlib.import_module(module.name)


# Other packages are imported as on this system, ours as on Windows.
import_all()
for name in [n for n in sys.modules if n.partition(".")[0] == "bamjax"]:
  del sys.modules[name]
sys.platform = "win32"
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty"):
  sys.modules[name] = None  # importing it raises ImportError
sys.modules["msvcrt"] = types.ModuleType("msvcrt")
for name in ("sysconf", "sched_getaffinity"):
  if hasattr(os, name):
    delattr(os, name)
import_all()
"""


def _run(script):
  done = subprocess.run(
    [sys.executable, "-c", script],
    cwd=Path(__file__).parents[1],
    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr


def test_heavy_packages_wait_until_they_are_needed():
  _run(_HEAVY)


def test_every_module_can_be_imported_on_windows():
  _run(_WINDOWS)


# Private names change without notice: each is used in one function, which a
# test of this name or of its module calls.
_PRIVATE = {
  "jax._src": {"forks.py", "training/watch.py"},
  "tensorflow_datasets.core": {"data/sources.py"},
  "_get_metrics": {"runs/checkpoints.py"},
  ".tile =": {"images/decoding.py"},
}


def test_private_names_of_libraries_are_used_in_few_places():
  package = Path(__file__).parents[1] / "bamjax"
  texts = {
    path.relative_to(package).as_posix(): path.read_text()
    for path in package.rglob("*.py")
  }
  for name, places in _PRIVATE.items():
    assert {file for file, text in texts.items() if name in text} == places
