"""Layers have the same dtypes as Flax's, and float32 parameters."""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bamjax import layers
from bamjax.layers.attention import PReLU
from bamjax.layers.blocks import ResidualBlock
from bamjax.layers.pooling import KINDS as KINDS_OF_POOLS
from layers.definitions import KINDS
from models import small


def attention(kind):
  return lambda dtype: layers.Attention(kind, 2, dtype)("attention")


LAYERS = {
  **{kind: attention(kind) for kind in KINDS},
  "prelu": PReLU,
  "conv": lambda dtype: layers.Conv(8, dtype=dtype),
  "conv of 1×1": lambda dtype: layers.Conv(8, 1, dtype=dtype),
  "grouped": lambda dtype: layers.Conv(8, groups=2, dtype=dtype),
  "normed": lambda dtype: layers.Conv(8, weight_norm=True, dtype=dtype),
  "block": lambda dtype: ResidualBlock(dtype=dtype),
  "scaled block": lambda dtype: ResidualBlock(
    0.1, layers.Attention("bam", 2, dtype), dtype=dtype
  ),
  "upsampler": lambda dtype: layers.Upsampler(2, dtype=dtype),
}
SHAPE = (2, 5, 6, 8)


def features(dtype):
  return jax.ShapeDtypeStruct(SHAPE, dtype)


def traced(layer, dtype):
  """Returns the shapes of a layer's parameters and output; runs nothing."""
  return jax.eval_shape(
    lambda x: layer.init_with_output(jax.random.key(0), x), features(dtype)
  )


@functools.cache
def flaxs(dtype, given):
  return traced(nn.Conv(8, (3, 3), dtype=dtype), given)[0].dtype


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize("name", LAYERS)
def test_dtypes_are_those_of_flaxs_conv(name, dtype):
  layer = LAYERS[name](dtype)
  _, variables = traced(layer, "float32")
  assert {p.dtype.name for p in jax.tree.leaves(variables)} == {"float32"}
  for given in ("float16", "bfloat16", "float32", "uint8"):
    y = jax.eval_shape(layer.apply, variables, features(given))
    assert y.dtype == flaxs(dtype, given), given
  # Parameters in half precision give results in half precision.
  half = jax.tree.map(
    lambda p: jax.ShapeDtypeStruct(p.shape, jnp.bfloat16), variables
  )
  y = jax.eval_shape(layer.apply, half, features("bfloat16"))
  assert y.dtype == jnp.bfloat16


@pytest.mark.parametrize("name", LAYERS)
def test_parameters_are_float32_with_x64_too(name):
  with jax.enable_x64(True):
    for given in ("float32", "float64"):
      y, variables = traced(LAYERS[name](None), given)
      assert y.dtype == given
      assert {p.dtype.name for p in jax.tree.leaves(variables)} == {"float32"}


@pytest.mark.parametrize("name", small.OPTIONS)
def test_backbones_are_float32_with_x64_too(name):
  lr = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
  with jax.enable_x64(True):
    model = small.create(name, "bam", normalization="official")
    found = jax.eval_shape(model.init_with_output, jax.random.key(0), lr)
  assert {a.dtype.name for a in jax.tree.leaves(found)} == {"float32"}


@pytest.mark.parametrize("name", LAYERS)
def test_empty_features_give_empty_features(name):
  layer = LAYERS[name](None)
  _, variables = traced(layer, "float32")
  factor = 2 if name == "upsampler" else 1
  for n, h, w in ((0, 5, 6), (2, 0, 6), (2, 5, 0)):
    y = jax.eval_shape(layer.apply, variables, jnp.zeros((n, h, w, 8)))
    assert y.shape == (n, factor * h, factor * w, 8)


@pytest.mark.parametrize("name", small.OPTIONS)
def test_empty_images_give_empty_images(name):
  model = small.create_wide(name, "bam_allpool")
  y, _ = jax.eval_shape(
    model.init_with_output, jax.random.key(0), jnp.zeros((0, 5, 0, 3))
  )
  assert y.shape == (0, 10, 0, 3)


def test_pools_in_half_precision_are_computed_in_float32():
  # Squares of the features overflow in float16.
  x = np.random.default_rng(0).integers(-999, 999, SHAPE).astype(np.float16)
  pool = jax.jit(lambda x: layers.Pool(KINDS_OF_POOLS).apply({}, x))
  for got, want in zip(pool(x), pool(np.float32(x)), strict=True):
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got, want.astype(np.float16))


def test_pools_of_integers_are_refused():
  with pytest.raises(ValueError, match="must be floating; got uint8"):
    layers.Pool().apply({}, np.zeros(SHAPE, np.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_features_without_channels_are_refused(kind):
  x = np.zeros((1, 5, 6, 0), np.float32)
  with pytest.raises(ValueError, match="C ≥ 1; got shape"):
    LAYERS[kind](None).init(jax.random.key(0), x)
