"""Processes that are forked after JAX has started are refused."""

import os
import subprocess
import sys

import pytest

# Its last part fails if JAX moves what tells whether it has started, a private
# name.
_FORKED = """
import os
import sys

from flax import linen as nn
import numpy as np

import bamjax
from bamjax import metrics


class Inverse(nn.Module):
  scale: int = 1

  def __call__(self, lr):
    return 1 - lr


image = np.zeros((16, 16, 3), np.uint8)
if os.fork() == 0:  # JAX has not started: this one works
  assert bamjax.Upscaler(Inverse(), {})(image).all()
  os._exit(3)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 3
upscale = bamjax.Upscaler(Inverse(), {})
if os.fork() == 0:
  for call in (
    lambda: upscale(image),
    lambda: bamjax.Upscaler(Inverse(), {}),
    lambda: metrics.image_scores(image, image, 1),
  ):
    try:
      call()
    except bamjax.UserError as error:
      print(error, flush=True)
  os._exit(4)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 4
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_process_forked_after_jax_started_says_so():
  done = subprocess.run(
    [sys.executable, "-W", "ignore", "-c", _FORKED],
    capture_output=True,
    text=True,
    timeout=100,
  )
  assert done.returncode == 0, done.stderr
  lines = done.stdout.splitlines()
  assert len(lines) == 3 and all("spawn" in line for line in lines)
