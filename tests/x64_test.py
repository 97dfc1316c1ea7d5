"""JAX_ENABLE_X64 changes no result; train_test.py runs training with it."""

import functools
import re

import jax
import numpy as np
import optax
import pytest

from bamjax import layers
from bamjax import metrics
from bamjax.data import resident
from bamjax.data import sampling
from bamjax.inference import windows
from bamjax.layers import ATTENTIONS
from bamjax.training.state import create_state
from models import small
from training import tiny


def both(function):
  """Returns a function's results, without and with x64."""
  with jax.enable_x64(True):
    wide = function()
  return jax.device_get(function()), jax.device_get(wide)


def assert_same_bits(found):
  usual, wide = map(jax.tree.leaves, found)
  for a, b in zip(usual, wide, strict=True):
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("seed", [0, -1, 2**31 - 1])
def test_samples_are_the_same(seed):
  sizes = np.array([(33, 40), (21, 18), (12, 9)], np.int32)

  def draw():
    return sampling.plan(seed, 5, sizes, batch_size=8, patch=8)

  assert_same_bits(both(draw))


def test_runs_start_the_same():
  # layers/dtypes_test.py checks each layer.
  schedule = optax.constant_schedule(1e-3)

  def draw():
    state = create_state(layers.Conv(3), schedule, -1, tiny.PATCH, ema=True)
    return jax.tree.map(np.asarray, state)

  assert_same_bits(both(draw))


def is_wide(function, *arguments):
  """Whether a program traced with x64 has float64 arrays."""
  with jax.enable_x64(True):
    program = str(jax.make_jaxpr(function)(*arguments))
  return re.search(r"\b[fc](64|128)\[\d", program) is not None


def test_batches_have_32_bits():
  def draw(data, step):
    batch = {"batch_size": 2, "patch": tiny.PATCH}
    return resident.sample_batch(data, 0, step, **batch)

  assert not is_wide(draw, tiny.resident(), np.int32(0))


# 64-bit scalars are rounded to 32 bits before they are combined with arrays.
@pytest.mark.parametrize("kind", ATTENTIONS)
def test_upscaling_has_32_bits(kind):
  names = sorted(small.OPTIONS)
  name = names[ATTENTIONS.index(kind) % len(names)]
  module = small.create_wide(name, kind, normalization="official")
  lr = np.zeros((1, 12, 12, 3), np.float32)
  own = [np.ones(12, bool)] * 2
  gather = functools.partial(windows.gather, module)
  assert not is_wide(gather, small.draw(module, lr), lr, own, own)


def test_scores_have_32_bits():
  image = np.zeros((1, 20, 20, 3), np.float32)
  for planes in ("matlab", "bam", "rgb"):
    scores = functools.partial(metrics.scores, planes=planes)
    assert not is_wide(scores, image, image, 2)
    assert not is_wide(scores, *2 * [image.astype(np.uint8)], 2)
  for metric in (metrics.psnr, metrics.ssim):
    assert not is_wide(metric, image[..., 0], image[..., 0])
  assert is_wide(lambda x: x * np.ones(2), np.ones(2))
