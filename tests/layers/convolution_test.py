"""Convolutions, pixel shuffle, upsamplers and blocks against plain loops."""

import itertools
import math

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from bamjax.layers import compile_for
from bamjax.layers import Conv
from bamjax.layers import pixel_shuffle
from bamjax.layers import Upsampler
from bamjax.layers.blocks import ResidualBlock
from bamjax.layers.convolution import convolve
from bamjax.layers.convolution import upsample_bilinear
from bamjax.layers.convolution import upsample_steps


def naive(x, kernel, groups=1, dilation=1):
  """A zero-padded 'same' grouped convolution, value by value, in float64."""
  x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
  k, _, depth, features = kernel.shape
  n, h, w, _ = x.shape
  pad = dilation * (k // 2)
  padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  y = np.zeros((n, h, w, features))
  for o in range(features):
    start = o // (features // groups) * depth
    for i, j in itertools.product(range(k), range(k)):
      r, c = dilation * i, dilation * j
      window = padded[:, r : r + h, c : c + w, start : start + depth]
      y[..., o] += (window * kernel[i, j, :, o]).sum(-1)
  return y


def random(seed, shape):
  return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("purpose", ["export", "here"])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("relu", [True, False])
def test_a_conv_adds_and_ends_with_a_relu(purpose, size, relu):
  # 1×1 convolutions are matrix products if small, and oneDNN's if large.
  for height in (6, 40):
    x, skip = random(0, (2, height, 30, 8)), random(1, (2, height, 30, 12))
    layer = Conv(12, size, relu=relu)
    variables = layer.init(jax.random.key(2), x)
    p = variables["params"]
    want = naive(x, p["kernel"]) + np.asarray(p["bias"]) + np.asarray(skip)
    want = np.maximum(want, 0) if relu else want
    with compile_for(purpose):
      got = jax.jit(lambda v, x, add: layer.apply(v, x, add))  # noqa: B023
      np.testing.assert_allclose(got(variables, x, skip), want, 1e-4, 1e-5)
      alone = jax.jit(lambda v, x: layer.apply(v, x))(variables, x)  # noqa: B023
    want = naive(x, p["kernel"]) + np.asarray(p["bias"])
    want = np.maximum(want, 0) if relu else want
    np.testing.assert_allclose(alone, want, 1e-4, 1e-5)


@pytest.mark.parametrize("purpose", ["export", "here"])
@pytest.mark.parametrize("size", [1, 3])
def test_maps_in_a_list_are_as_if_concatenated(purpose, size):
  maps = [random(i, (1, 40, 40, c)) for i, c in enumerate((8, 5, 16))]
  together, skip = jnp.concatenate(maps, axis=-1), random(3, (1, 40, 40, 12))
  layer = Conv(12, size, relu=True)
  variables = layer.init(jax.random.key(4), together)
  assert jax.tree.map(jnp.shape, variables) == jax.tree.map(
    jnp.shape, layer.init(jax.random.key(4), maps)
  )
  want = layer.apply(variables, together, skip)
  with compile_for(purpose):
    got = jax.jit(lambda v, x, add: layer.apply(v, x, add))
    np.testing.assert_allclose(got(variables, maps, skip), want, 1e-4, 1e-5)


# Size, groups and dilation: one at a time, then together.
GEOMETRIES = [
  (1, 1, 1),
  (1, 2, 1),
  (3, 1, 1),
  (3, 4, 1),
  (3, 1, 3),
  (3, 2, 2),
  (5, 1, 1),
  (5, 4, 3),
]


@pytest.mark.parametrize("size, groups, dilation", GEOMETRIES)
def test_conv_equals_a_naive_convolution(size, groups, dilation):
  x = random(0, (2, 6, 7, 8))
  layer = Conv(12, size, groups=groups, dilation=dilation)
  variables = layer.init(jax.random.key(1), x)
  p = variables["params"]
  assert p["kernel"].shape == (size, size, 8 // groups, 12)
  want = naive(x, p["kernel"], groups, dilation) + np.asarray(p["bias"])
  np.testing.assert_allclose(layer.apply(variables, x), want, 1e-4, 1e-5)


@pytest.mark.parametrize("size, groups, dilation", GEOMETRIES)
def test_every_path_equals_laxs_convolution(size, groups, dilation):
  x = random(0, (2, 6, 7, 8))
  kernel = random(1, (size, size, 8 // groups, 12))
  pad = dilation * (size // 2)

  def convolve_by_xla(x, kernel):
    return lax.conv_general_dilated(
      x,
      kernel,
      (1, 1),
      ((pad, pad), (pad, pad)),
      rhs_dilation=(dilation, dilation),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=groups,
    )

  def ours(x, kernel):
    return convolve(x, kernel, groups=groups, dilation=dilation)

  @jax.jit
  def both(x, kernel, u):
    a, b = jax.vjp(ours, x, kernel), jax.vjp(convolve_by_xla, x, kernel)
    return (a[0], *a[1](u)), (b[0], *b[1](u))

  got, want = both(x, kernel, random(2, (2, 6, 7, 12)))
  for a, b in zip(got, want, strict=True):
    np.testing.assert_allclose(a, b, 1e-4, 1e-4)


def test_weight_norm_is_gain_times_direction():
  x = random(0, (1, 5, 5, 4))
  layer = Conv(6, weight_norm=True)
  p = layer.init(jax.random.key(1), x)["params"]
  assert p["gain"].shape == (6,)
  # At the start, the kernel equals the direction.
  plain = {"kernel": p["kernel"], "bias": p["bias"]}
  np.testing.assert_allclose(
    layer.apply({"params": p}, x),
    Conv(6).apply({"params": plain}, x),
    1e-5,
    1e-6,
  )
  gain = jnp.arange(6.0) - 2
  v = np.asarray(p["kernel"])
  norms = [math.sqrt((v[..., o] ** 2).sum()) for o in range(6)]
  want = naive(x, v * np.asarray(gain) / np.array(norms)) + p["bias"]
  # The direction's length has no effect.
  for length in (1, 7):
    moved = {**p, "kernel": length * p["kernel"], "gain": gain}
    np.testing.assert_allclose(
      layer.apply({"params": moved}, x), want, 1e-4, 1e-5
    )


@pytest.mark.parametrize(
  "size, groups, fan_in", [(3, 1, 9 * 32), (1, 1, 32), (3, 4, 9 * 8)]
)
def test_initial_range_is_pytorchs(size, groups, fan_in):
  layer = Conv(256, size, groups=groups)
  p = layer.init(jax.random.key(0), jnp.zeros((1, 4, 4, 32)))["params"]
  bound = 1 / math.sqrt(fan_in)
  for name in ("kernel", "bias"):
    values = np.asarray(p[name])
    assert np.abs(values).max() <= bound
    assert values.min() < -0.95 * bound and values.max() > 0.95 * bound
    # Uniform: variance bound²/3.
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.15)


def test_without_bias_there_is_none():
  variables = Conv(4, use_bias=False).init(
    jax.random.key(0), jnp.zeros((1, 4, 4, 2))
  )
  assert set(variables["params"]) == {"kernel"}


def test_computes_in_bfloat16_with_float32_parameters():
  x = random(0, (1, 6, 6, 8))
  low = Conv(8, dtype=jnp.bfloat16)
  variables = low.init(jax.random.key(1), x)
  assert {p.dtype for p in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
  y = low.apply(variables, x)
  assert y.dtype == jnp.bfloat16
  want = Conv(8).apply(variables, x)
  np.testing.assert_allclose(y.astype(jnp.float32), want, 0.03, 0.03)


@pytest.mark.parametrize("purpose", ["export", "here"])
@pytest.mark.parametrize(
  "size, factor", [(3, 2), (3, 3), (5, 2), (7, 4), (1, 2)]
)
def test_a_conv_enlarges_its_input_first(purpose, size, factor):
  x = random(0, (2, 5, 1, 6))
  layer = Conv(4, size, upsample=factor, relu=True)
  variables = layer.init(jax.random.key(1), x)
  p = variables["params"]
  assert p["kernel"].shape == (size, size, 6, 4)
  large = np.repeat(np.repeat(x, factor, 1), factor, 2)
  want = np.maximum(naive(large, p["kernel"]) + np.asarray(p["bias"]), 0)
  with compile_for(purpose):
    got = jax.jit(lambda v, x: layer.apply(v, x))(variables, x)
  assert got.shape == (2, 5 * factor, factor, 4)
  np.testing.assert_allclose(got, want, 1e-4, 1e-5)


def test_gradients_of_a_conv_that_enlarges_are_those_of_the_definition():
  x, dy = random(0, (2, 6, 7, 6)), random(1, (2, 12, 14, 4))
  variables = Conv(4).init(jax.random.key(2), x)

  def pull(layer, enlarge):
    def call(v, x):
      return layer.apply(v, enlarge(x))

    return jax.jit(lambda v, x: jax.vjp(call, v, x)[1](dy))(variables, x)

  def repeat(x):
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)

  got = pull(Conv(4, upsample=2), lambda x: x)
  want = pull(Conv(4), repeat)
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    np.testing.assert_allclose(a, b, 1e-4, 1e-4)


def test_what_a_conv_that_enlarges_cannot_do():
  for options in ({"groups": 2}, {"dilation": 2}, {"stride": 2}):
    with pytest.raises(ValueError, match="no groups, dilation or stride"):
      Conv(4, upsample=2, **options)
  x = random(0, (1, 4, 4, 4))
  layer = Conv(4, upsample=2)
  with pytest.raises(ValueError, match="adds nothing"):
    layer.init(jax.random.key(1), x, add=x)


@pytest.mark.parametrize("factor", [2, 3])
def test_pixel_shuffle_has_pytorchs_order(factor):
  # All values differ, so that a wrong order is noticed.
  n, h, w, c = 2, 3, 4, 5
  x = np.arange(n * h * w * c * factor**2, dtype=np.float32)
  x = x.reshape(n, h, w, c * factor**2)
  want = np.zeros((n, h * factor, w * factor, c), np.float32)
  for row, column, k, i, j in itertools.product(
    range(h), range(w), range(c), range(factor), range(factor)
  ):
    source = x[:, row, column, k * factor**2 + i * factor + j]
    want[:, row * factor + i, column * factor + j, k] = source
  np.testing.assert_array_equal(pixel_shuffle(jnp.asarray(x), factor), want)


@pytest.mark.parametrize("factor", [2, 3])
def test_pixel_shuffle_equals_torch(factor):
  torch = pytest.importorskip("torch")
  x = np.asarray(random(0, (2, 3, 4, 5 * factor**2)))
  planes = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
  want = torch.nn.functional.pixel_shuffle(planes, factor).numpy()
  got = np.asarray(pixel_shuffle(jnp.asarray(x), factor))
  np.testing.assert_array_equal(got.transpose(0, 3, 1, 2), want)


@pytest.mark.parametrize(
  "scale, steps", [(2, [2]), (3, [3]), (4, [2, 2]), (8, [2, 2, 2])]
)
@pytest.mark.parametrize("groups", [1, 4])
def test_upsampler(scale, steps, groups):
  assert upsample_steps(scale) == steps
  x = random(0, (2, 5, 3, 8))
  layer = Upsampler(scale, groups=groups)
  y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), x)
  assert y.shape == (2, 5 * scale, 3 * scale, 8)
  shapes = [
    variables["params"][f"conv_{i}"]["kernel"].shape for i in range(len(steps))
  ]
  assert shapes == [(3, 3, 8 // groups, 8 * f * f) for f in steps]


def test_upsampler_with_relu_is_not_negative():
  x = random(0, (1, 4, 4, 8))
  variables = Upsampler(2).init(jax.random.key(0), x)
  plain = Upsampler(2).apply(variables, x)
  clipped = Upsampler(2, relu=True).apply(variables, x)
  assert plain.min() < 0
  np.testing.assert_allclose(clipped, np.maximum(plain, 0), 1e-6)


@pytest.mark.parametrize("scale", [-2, 0, 1, 5, 6])
def test_other_scales_are_refused(scale):
  with pytest.raises(ValueError, match=f"got {scale}"):
    upsample_steps(scale)


@pytest.mark.parametrize("res_scale", [1.0, 0.1])
def test_residual_block(res_scale):
  x = random(0, (2, 5, 6, 8))
  block = ResidualBlock(res_scale)
  variables = block.init(jax.random.key(1), x)
  p = jax.tree.map(np.asarray, variables["params"])
  y = naive(x, p["conv_0"]["kernel"]) + p["conv_0"]["bias"]
  y = naive(np.maximum(y, 0), p["conv_1"]["kernel"]) + p["conv_1"]["bias"]
  want = np.asarray(x) + res_scale * y
  np.testing.assert_allclose(block.apply(variables, x), want, 1e-4, 1e-5)


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_bilinear_upsampling_equals_jaxs(factor):
  x = np.random.default_rng(0).random((2, 5, 7, 3), dtype=np.float32)
  want = jax.image.resize(x, (2, 5 * factor, 7 * factor, 3), "bilinear")
  np.testing.assert_allclose(upsample_bilinear(x, factor), want, atol=1e-6)


@pytest.mark.parametrize("shape", [(16, 16, 8), (1, 1, 16, 16, 8), (8,)])
@pytest.mark.parametrize("size", [1, 3])
def test_other_than_four_axes_are_refused(shape, size):
  layer = Conv(8, size)
  variables = layer.init(jax.random.key(0), jnp.zeros((1, 16, 16, 8)))
  with pytest.raises(ValueError, match="N×H×W×C"):
    layer.apply(variables, jnp.zeros(shape))
  with pytest.raises(ValueError, match="N×H×W×C"):
    jax.jit(layer.apply)(variables, jnp.zeros(shape))


@pytest.mark.parametrize("shape", [(0, 16, 16, 8), (1, 0, 16, 8)])
def test_empty_inputs_give_empty_outputs(shape):
  layer = Conv(4, relu=True)
  variables = layer.init(jax.random.key(0), jnp.zeros((1, 16, 16, 8)))
  assert jax.jit(layer.apply)(variables, jnp.zeros(shape)).shape == (
    *shape[:3],
    4,
  )
