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


import bamjax
from bamjax.commands import cli
for name in cli.COMMANDS:
  __import__(f"bamjax.commands.{name}")
check("jax", "numpy", "ml_collections")

bamjax.BAM, bamjax.Upscaler, bamjax.attention_maps, bamjax.list_models()
bamjax.load_weights("pan-bam-x2")
import bamjax.metrics
import bamjax.upscaling.batch, bamjax.evaluation.suite, bamjax.exporting
import bamjax.benchmarking
bamjax.benchmarking.default_plan()
training = "orbax.checkpoint", "optax", "ml_collections", "tensorboardX"
check(*training, "tensorflow", "torch", "matplotlib", "jinja2")

import bamjax.training.loop, bamjax.evaluation.paper_tables
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
