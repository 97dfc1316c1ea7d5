"""Tiles and padding of networks of a user's own, with Flax's operations."""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bamjax.errors import warn_once
from bamjax.inference import footprint
from bamjax.inference import upscaler
from bamjax.layers import CA
from bamjax.layers import Conv
from bamjax.layers import PA
from bamjax.layers import pixel_shuffle
from models import small


class Net(nn.Module):
  """A network that a function defines."""

  define: Any
  scale: int = 1

  @nn.compact
  def __call__(self, lr):
    return self.define(lr)


def conv(features=3, size=(3, 3), **options):
  return nn.Conv(features, size, **options)


def twice(x):
  attention = CA(2, name="attention")
  x = attention(Conv(8)(x))
  return Conv(3)(attention(Conv(8)(x)))


class Turn(nn.Module):
  @nn.compact
  def __call__(self, x, _):
    return nn.relu(conv(4)(x)), None


def scanned(x):
  scan = nn.scan(
    Turn, variable_axes={"params": 0}, split_rngs={"params": True}, length=3
  )
  return conv()(scan()(conv(4)(x), None)[0])


def padded_by(mode):
  def define(x):
    x = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode=mode)
    return conv(size=(5, 5), padding="VALID")(x)

  return define


def shuffled(x):
  return conv()(nn.gelu(pixel_shuffle(conv(16)(x), 2)))


# Reach in LR pixels, from the sizes of the kernels.
KNOWN = {
  "an attention that is called twice": (twice, 1, 3),
  "a row of 21 taps": (lambda x: conv(size=(1, 21))(x), 1, 10),
  "dilated": (lambda x: conv(kernel_dilation=4)(x), 1, 4),
  "without padding, then with more": (
    lambda x: conv(padding=2)(conv(padding="VALID")(x)),
    1,
    2,
  ),
  "averages of 3×3": (
    lambda x: conv()(nn.avg_pool(x, (3, 3), (1, 1), "SAME")),
    1,
    2,
  ),
  "maxima of 5×5": (
    lambda x: nn.max_pool(conv()(x), (5, 5), (1, 1), "SAME"),
    1,
    3,
  ),
  "mirrors at the edge": (padded_by("reflect"), 1, 2),
  "repeats the edge": (padded_by("edge"), 1, 2),
  "pads with zeros": (padded_by("constant"), 1, 2),
  # The second kernel's pixel is half as large.
  "pixel shuffle": (shuffled, 2, 2),
  # Taps at distances −1 to 2 of the enlarged image.
  "transposed": (lambda x: nn.ConvTranspose(3, (4, 4), (2, 2))(x), 2, 1),
  "a loop of three convolutions": (scanned, 1, 5),
  "recomputed": (lambda x: conv()(nn.remat(Turn)()(x, None)[0]), 1, 2),
  "norms of pixels": (lambda x: conv()(nn.LayerNorm()(conv(4)(x))), 1, 2),
  "a sum over channels": (lambda x: jnp.cumsum(conv()(x), 3), 1, 1),
  "noise per channel": (
    lambda x: conv()(x) + jax.random.uniform(jax.random.key(0), (3,)),
    1,
    1,
  ),
  "pixel attention": (lambda x: PA()(conv()(x)), 1, 1),
}


def drawn(module, lr):
  """Variables with attentions that have a strong effect."""
  return jax.tree_util.tree_map_with_path(
    lambda path, leaf: 30 * leaf if "excite" in str(path) else leaf,
    small.draw(module, lr[None]),
  )


@pytest.mark.parametrize("name", KNOWN)
def test_tiles_and_padding_change_nothing(name, monkeypatch):
  monkeypatch.setattr(upscaler, "_finished", lambda sr, dtype: sr)
  define, scale, pixels = KNOWN[name]
  module = Net(define, scale)
  assert footprint.reach(module).pixels == pixels
  lr = np.random.default_rng(0).random((9, 42, 3), dtype=np.float32)
  variables = drawn(module, lr)
  whole = jax.jit(module.apply)(variables, lr[None])[0]
  for padded in (False, True):
    tiled = upscaler.Upscaler(
      module, variables, tile=14, passes=2, padded=padded
    )
    assert tiled.tiles(9, 42) == 3
    np.testing.assert_allclose(tiled(lr), whole, atol=2e-5)


class Pooling(nn.Module):
  @nn.compact
  def __call__(self, x, _):
    return CA(2)(Conv(4)(x)), None


def pools_in_a_loop(x):
  scan = nn.scan(
    Pooling, variable_axes={"params": 0}, split_rngs={"params": True}, length=2
  )
  return Conv(3)(scan()(Conv(4)(x), None)[0])


def all_pairs(x):
  n, h, w, c = x.shape
  x = x.reshape(n, h * w, c)
  return (nn.softmax(x @ x.transpose(0, 2, 1)) @ x).reshape(n, h, w, c)


def enlarged(x, method):
  n, h, w, c = x.shape
  return jax.image.resize(x, (n, 2 * h, 2 * w, c), method)


# What depends on more pixels than are known, on the place, or on the size.
REFUSED = {
  "averages of 2×2": (
    lambda x: enlarged(nn.avg_pool(x, (2, 2), (2, 2)), "nearest"),
    "reduce_window_sum with a stride",
  ),
  "roll": (lambda x: jnp.roll(x, 1, 1), "roll"),
  "cumsum": (lambda x: jnp.cumsum(x, 2), "cumsum (cumsum over pixels)"),
  "flip": (lambda x: x[:, ::-1], ""),
  "sort": (lambda x: jnp.sort(x, 1), "sort"),
  "the mean of the rows": (
    lambda x: x - jnp.mean(x, 1, keepdims=True),
    "reduce_sum over pixels",
  ),
  "a maximum of its own": (lambda x: x / jnp.max(x), "reduce_max over pixels"),
  "norms of the image": (lambda x: nn.GroupNorm(3)(x), "reduce_sum"),
  "the first row": (lambda x: x - x[:, :1], ""),
  "the place": (
    lambda x: x + jnp.arange(x.shape[1])[:, None, None] / 100,
    "iota",
  ),
  "the size": (lambda x: x / x.shape[2], "dim_as_value"),
  "noise": (
    lambda x: x + jax.random.uniform(jax.random.key(0), x.shape),
    "uniform (random_bits)",
  ),
  "resize": (
    lambda x: enlarged(x, "bilinear")[:, ::2, ::2],
    "resize (iota)",
  ),
  "a window's pixels": (
    lambda x: x.reshape(1, x.shape[1] // 4, 4, -1, 3).reshape(x.shape),
    "no trace for all sizes",
  ),
  "all pairs of pixels": (all_pairs, "dot_general"),
  "pools in a loop": (pools_in_a_loop, "Pool in a loop"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_not_tiled_and_named(name, caplog):
  define, operation = REFUSED[name]
  module = Net(define)
  lr = np.random.default_rng(0).random((16, 40, 3), dtype=np.float32)
  variables = small.draw(module, lr[None])
  warn_once.cache_clear()
  for options in ({"tile": 8}, {"memory": 1e5}, {"tile": 8, "padded": True}):
    upscale = upscaler.Upscaler(module, variables, **options)
    assert upscale.tiles(16, 40) == 1
  whole = jax.jit(module.apply)(variables, lr[None])[0].clip(0, 1)
  np.testing.assert_array_equal(upscale(lr), whole)
  tiled, *_ = [line for line in caplog.messages if "it is not tiled" in line]
  assert f"Net has {operation}" in tiled and "\n" not in tiled


def test_a_halo_that_is_passed_tiles_with_a_warning(caplog):
  module = Net(lambda x: jnp.roll(x, 1, 1))
  warn_once.cache_clear()
  upscale = upscaler.Upscaler(module, {}, tile=8, halo=4)
  assert upscale.tiles(16, 40) == 5
  assert "may differ from the whole image, in spite of halo=4" in caplog.text


def test_a_network_of_other_sizes_is_upscaled():
  def define(x):
    assert x.shape[1] == 6, "six rows only"
    return 1 - x

  module = Net(define)
  upscale = upscaler.Upscaler(module, {}, padded=True)
  np.testing.assert_array_equal(upscale(np.zeros((6, 7, 3))), 1)
  with pytest.raises(AssertionError, match="six rows only"):
    upscale(np.zeros((7, 7, 3)))
