"""Fixtures for tests of whole runs."""

import pytest

from scripts import Script
from scripts import tiny_run


@pytest.fixture
def start(photographs, kept_environment):
  """Starts a run of so many steps."""

  def start(run_dir, steps, *more):
    flags = tiny_run(photographs, run_dir, steps)
    return Script("train.py", *flags, *more, **kept_environment)

  return start
