"""What the profiler's records of a program are summed to."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp

from benchmarks import kernels
import scripts


def test_operations_are_counted_per_frame(tmp_path):
  """A loop runs its product five times a frame, whatever else is there."""

  @jax.jit
  def function(x):
    return jax.lax.fori_loop(0, 5, lambda _, y: jnp.tanh(y @ x), x)

  x = jnp.ones((64, 64)) / 64
  jax.block_until_ready(function(x))
  with jax.profiler.trace(tmp_path):
    for _ in range(3):
      jax.block_until_ready(function(x))
  found = kernels.measure(tmp_path, 3)
  layers = kernels.origins(function.lower(x).compile().as_text())
  times = {
    name: row["times"]
    for name, row in found.items()
    if layers.get(name, "").endswith("dot_general")
  }
  assert list(times.values()) == [5]
  assert all(row["ms"] > 0 for row in found.values())


def test_the_longest_operations_come_first_with_their_layers(tmp_path):
  output = tmp_path / "kernels.json"
  flags = ["--model=edsr_baseline", "--attn=bam", "--size=16", "--frames=2"]
  done = subprocess.run(
    [sys.executable, "-m", "benchmarks.kernels", *flags, f"--output={output}"],
    cwd=scripts.ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  operations = json.loads(output.read_text())["operations"]
  times = [row["ms"] for row in operations.values()]
  assert times == sorted(times, reverse=True)
  assert any("EDSR/" in row["layer"] for row in operations.values())
  # A table of ten, with a title and a head.
  assert len(done.stdout.splitlines()) == 3 + 10
