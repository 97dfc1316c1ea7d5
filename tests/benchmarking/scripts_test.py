"""The scripts that nothing else runs, on small inputs, as users start them."""

import subprocess
import sys

import pytest

import scripts


@pytest.mark.slow
@pytest.mark.parametrize(
  ("arguments", "said"),
  [
    (["cold_start", "--size=16", "--runs=0"], "heavy imports: none"),
    (["attention_speed", "--size=16", "--attns=bam"], "× the bound"),
    (["compile_time", "--models=imdn"], "train step s"),
  ],
  ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_runs(arguments, said):
  module, *flags = arguments
  done = subprocess.run(
    [sys.executable, "-m", f"benchmarks.{module}", *flags],
    cwd=scripts.ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert said in done.stdout
