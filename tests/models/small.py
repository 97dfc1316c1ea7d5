"""Small backbones: the same structure with few blocks and channels."""

import math

import jax
import numpy as np

from bamjax.layers import Attention
from bamjax.models import create_model

# Every repeated part occurs at least twice, including DRLN's irregular block.
OPTIONS = {
  "awsrn": dict(
    blocks=2, units=2, features=16, wide_features=24, tail_sizes=(3, 5)
  ),
  "bsrn": dict(blocks=2, features=16, distilled=8),
  "carn": dict(blocks=2, units=2, features=16),
  "carn_m": dict(blocks=2, units=2, features=16, groups=4),
  "drln": dict(groups=(1, 2), features=16),
  "edsr": dict(blocks=2, features=16),
  "edsr_baseline": dict(blocks=2, features=16),
  "imdn": dict(blocks=2, features=16, distilled=4),
  "msrn": dict(blocks=2, features=16),
  "pan": dict(blocks=2, features=16, up_features=16),
  "rcan": dict(groups=2, blocks=2, features=16),
  "slwsr32": dict(features=16),
  "smfanet": dict(blocks=2, features=16),
}


def create(name, attn="native", scale=2, **overrides):
  """`create_model` with few blocks and channels."""
  return create_model(name, attn, scale, **{**OPTIONS[name], **overrides})


def create_wide(name, kind, **overrides):
  """The same with a wide bottleneck, so that not all ReLUs are 0."""
  dtype = overrides.get("dtype")
  attention = Attention(kind, reduction=2, dtype=dtype)
  return create(name, attention=attention, **overrides)


def draw(model, x, seed=0):
  """Returns variables like those of `model.init`, without compiling it."""
  rng = np.random.default_rng(seed)

  def leaf(path, shape):
    if len(shape) == 4:
      bound = 1 / math.sqrt(math.prod(shape[:3]))
      return rng.uniform(-bound, bound, shape).astype(np.float32)
    bias = path[-1].key == "bias"
    low, high = (-0.1, 0.1) if bias else (0.2, 0.6)
    return rng.uniform(low, high, shape).astype(np.float32)

  shapes = jax.eval_shape(model.init, jax.random.key(0), x)
  return jax.tree_util.tree_map_with_path(
    lambda path, a: leaf(path, a.shape), shapes
  )
