"""What is imported, and what waits until it is needed."""

import os
from pathlib import Path
import subprocess
import sys

_SCRIPT = """
import sys


def check(*packages):
  found = set(packages) & set(sys.modules)
  assert not found, found


import benchmark, bamjax.commands.upscale
import bamjax, bamjax.benchmarking, bamjax.inference, bamjax.metrics
bamjax.benchmarking.default_plan()
bamjax.list_models()
check("tensorflow", "torch", "matplotlib", "orbax")
import bamjax.commands.evaluate, bamjax.training.loop
check("tensorflow", "tensorflow_datasets", "matplotlib")
"""


def test_heavy_packages_wait_until_they_are_needed():
  done = subprocess.run(
    [sys.executable, "-c", _SCRIPT],
    cwd=Path(__file__).parents[1],
    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
