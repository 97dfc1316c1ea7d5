from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bamjax
from bamjax.inference.footprint import footprint
from bamjax.inference.footprint import reach
from bamjax.layers import compile_for
from bamjax.layers import Pool
from models import small


@pytest.mark.parametrize("name", ["imdn", "pan", "carn", "msrn"])
def test_memory_is_close_to_xlas_plan(name):
  module = bamjax.create_model(name, "bam", 2)
  lr = jax.ShapeDtypeStruct((1, 96, 96, 3), jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), lr)
  compiled = jax.jit(module.apply).lower(variables, lr).compile()
  planned = compiled.memory_analysis().temp_size_in_bytes / 96**2
  assert 0.7 < footprint(module).bytes_per_pixel / planned < 2


@pytest.mark.parametrize("name", ["edsr", "imdn", "pan", "awsrn", "msrn"])
def test_pixels_beyond_the_reach_change_nothing(name):
  # Attentions that pool over the whole image do not count.
  module = small.create(name, "none")
  pixels = reach(module).pixels
  rng = np.random.default_rng(0)
  lr = rng.random((1, 3, pixels + 2, 3), dtype=np.float32)
  variables = small.draw(module, lr)
  differ = lr.copy()
  differ[:, :, pixels + 1 :] = 0
  upscale = jax.jit(module.apply)
  a, b = upscale(variables, lr), upscale(variables, differ)
  np.testing.assert_array_equal(a[:, :, 0], b[:, :, 0])
  # Most pixels within the reach do.
  differ[:, :, pixels * 2 // 3 :] = 0
  assert np.any(upscale(variables, differ)[:, :, 0] != a[:, :, 0])


def spread(module):
  """LR pixels to the right of a NaN that the output depends on.

  NaN passes through every operation, whatever the weights are. Pools are
  replaced, as they are for tiles, because they depend on the whole image.
  """
  lr = np.zeros((1, 1, 160, 3), np.float32)
  lr[:, :, 0] = np.nan

  def intercept(call, args, kwargs, context):
    if not isinstance(context.module, Pool):
      return call(*args, **kwargs)
    shape = (1, 1, 1, args[0].shape[-1])
    return [jnp.zeros(shape)] * len(context.module.kinds)

  variables = jax.eval_shape(module.init, jax.random.key(0), lr)
  # Not zeros, which have no direction for a weight-normalised kernel.
  variables = jax.tree.map(lambda a: np.full(a.shape, 0.01, a.dtype), variables)
  with nn.intercept_methods(intercept), compile_for("onnx"):
    sr = np.asarray(jax.jit(module.apply)(variables, lr))
  columns = np.flatnonzero(np.isnan(sr).any(axis=(0, 1, 3)))
  assert columns[-1] < sr.shape[2] - 1, "the row is too short"
  return columns[-1] // module.scale


# Every attention with a reach, and every backbone.
@pytest.mark.parametrize(
  ("name", "attn", "scale"),
  [
    ("imdn", "bam", 2),
    ("pan", "cbam", 4),
    ("carn", "msam", 3),
    ("edsr", "msam_avgpool", 8),
    *(
      pytest.param(name, attn, scale, marks=pytest.mark.slow)
      for name, attn, scale in (
        ("awsrn", "bam", 2),
        ("carn_m", "acam", 4),
        ("drln", "bam_allpool", 3),
        ("drln", "la", 2),
        ("edsr_baseline", "bam", 4),
        ("msrn", "bam", 3),
        ("pan", "pa", 2),
        ("pan", "bam", 3),
        ("rcan", "cbam", 4),
        ("rcan", "ca", 3),
        ("slwsr32", "msam_avgpool", 8),
      )
    ),
  ],
)
def test_nan_spreads_as_far_as_the_reach(name, attn, scale):
  module = small.create_wide(name, attn, scale=scale)
  # At ×3, `upsample_bilinear` also counts a neighbour whose weight is 0.
  assert 0 <= reach(module).pixels - spread(module) <= (scale == 3)
  assert not reach(module).untiled and not reach(module).unpadded


@pytest.mark.parametrize(
  ("name", "attn", "count"),
  [("pan", "bam", 1), ("pan", "pa", 0), ("imdn", "cca", 6), ("drln", "la", 20)],
)
def test_pools_are_counted(name, attn, count):
  assert footprint(bamjax.create_model(name, attn, 2)).pools == count
