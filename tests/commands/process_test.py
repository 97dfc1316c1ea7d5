import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource
import jax, jax.numpy as jnp
from bamjax.commands import process

process.keep_memory()
x = jnp.zeros((25, 2**20))  # 100 MiB
# The barrier keeps an array within the program, which XLA's thread allocates.
run = jax.jit(lambda x: jax.lax.optimization_barrier(jnp.sin(x)).sum())
for _ in range(3):
  run(x).block_until_ready()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
  run(x).block_until_ready()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_of_large_arrays_is_kept():
  """Mapped anew, they would cost 25,600 page faults a run."""
  done = subprocess.run(
    [sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True
  )
  assert int(done.stdout) < 5000
