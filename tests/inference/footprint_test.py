import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bamjax
from bamjax.inference import windows
from bamjax.inference.footprint import footprint
from models import small


@pytest.mark.parametrize("name", ["imdn", "pan", "carn", "msrn"])
def test_memory_is_of_the_order_that_xla_plans(name):
  module = bamjax.create_model(name, "bam", 2)
  lr = jax.ShapeDtypeStruct((1, 96, 96, 3), jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), lr)
  compiled = jax.jit(module.apply).lower(variables, lr).compile()
  planned = compiled.memory_analysis().temp_size_in_bytes / 96**2
  assert 0.7 < footprint(module).bytes_per_pixel / planned < 2


@pytest.mark.parametrize("name", ["edsr", "imdn", "pan", "awsrn", "msrn"])
def test_what_lies_beyond_the_reach_changes_nothing(name):
  # Attentions that see the whole image are not counted.
  module = small.create(name, "none")
  reach = footprint(module).reach
  rng = np.random.default_rng(0)
  lr = rng.random((1, 3, reach + 2, 3), dtype=np.float32)
  variables = small.draw(module, lr)
  differ = lr.copy()
  differ[:, :, reach + 1 :] = 0
  upscale = jax.jit(module.apply)
  a, b = upscale(variables, lr), upscale(variables, differ)
  np.testing.assert_array_equal(a[:, :, 0], b[:, :, 0])
  # And most of what lies inside it does.
  differ[:, :, reach * 2 // 3 :] = 0
  assert np.any(upscale(variables, differ)[:, :, 0] != a[:, :, 0])


def support(module):
  """How far to the left an output pixel's gradient is not zero, in LR pixels.

  Pools are told what they see, as tiles are, so that nothing goes through them.
  """
  side = 2 * footprint(module).reach + 24
  lr = np.random.default_rng(0).random((1, 1, side, 3), dtype=np.float32)
  own = (np.ones(1, bool), np.ones(side, bool))

  def mean(leaf):
    # Of a row of taps: all is positive, so that no ReLU and no maximum stops
    # what comes from afar, and stays near 1, so that it does not underflow.
    return np.full(leaf.shape, 1 / np.prod(leaf.shape[1:3]), np.float32)

  variables = jax.tree.map(mean, small.draw(module, lr))
  moments = windows.gather(module, variables, lr, own)
  middle = module.scale * (side // 2)

  def pixel(lr):
    sr = windows.super_resolve(module, variables, lr, None, moments)
    return sr[0, :, middle].sum()

  gradient = np.abs(jax.grad(pixel)(lr))[0, 0].sum(-1)
  return side // 2 - np.flatnonzero(gradient)[0]


EXACT = ("imdn", "pan", "edsr", "msrn", "carn")


# Every attention that looks around, and every backbone with BAM or such a one.
@pytest.mark.parametrize(
  ("name", "attn"),
  [
    ("imdn", "bam"),
    ("pan", "cbam"),
    ("carn", "msam"),
    *(
      pytest.param(name, attn, marks=pytest.mark.slow)
      for name, attn in (
        ("awsrn", "bam"),
        ("edsr", "bam"),
        ("msrn", "bam"),
        ("slwsr32", "msam_avgpool"),
        ("rcan", "cbam"),
        ("drln", "bam_allpool"),
      )
    ),
  ],
)
def test_the_reach_is_the_support_of_a_pixels_gradient(name, attn):
  module = small.create_wide(name, attn)
  reach = footprint(module).reach
  found = support(module)
  assert found <= reach
  # An upsampled pixel may lie at either side of its LR pixel. Where values grow
  # from block to block, sigmoids saturate, and hide what comes from afar.
  assert found >= reach - (1 if name in EXACT else 10)


@pytest.mark.parametrize(
  ("name", "attn", "count"),
  [("pan", "bam", 1), ("pan", "pa", 0), ("imdn", "cca", 6), ("drln", "la", 20)],
)
def test_pools_are_counted(name, attn, count):
  assert footprint(bamjax.create_model(name, attn, 2)).pools == count
