"""BAM, its two parts and the other attentions against NumPy definitions."""

import jax
from jax import test_util
import jax.numpy as jnp
import numpy as np
import pytest

from bamjax import layers
from layers.definitions import build
from layers.definitions import compiled
from layers.definitions import count
from layers.definitions import DEFINITIONS
from layers.definitions import KINDS
from layers.definitions import Net
from layers.definitions import random_features
from layers.definitions import sigmoid
from layers.definitions import to_numpy


def test_every_kind_has_a_definition():
  assert set(DEFINITIONS) == set(KINDS)


@pytest.mark.parametrize(
  ("kind", "shape"),
  # ESA's coarse map has one cell in the first image and 3×4 in the other.
  [*((kind, (2, 9, 8, 32)) for kind in KINDS), ("esa_cca", (1, 31, 36, 32))],
)
def test_equals_its_definition(kind, shape):
  x = random_features(shape=shape)
  net, variables = build(kind, x)
  want = DEFINITIONS[kind](np.asarray(x, np.float64), to_numpy(variables))
  assert want.shape == x.shape
  got = compiled(net)(variables, x)
  np.testing.assert_allclose(got, want, 2e-5, 1e-5)


# Two channels and r = 2, small enough to compute by hand.
# Channel 0 is [[1, 2], [3, 6]], mean 3; channel 1 is [[4, 0], [-2, -6]],
# mean -1; the larger of the two is [[4, 2], [3, 6]].
TINY = np.array([[[[1, 4], [2, 0]], [[3, -2], [6, -6]]]], np.float32)


def tiny_acam(sign):
  return {
    "mlp": {
      "squeeze": {"kernel": jnp.array([[[[sign * 1.0], [sign * 2.0]]]])},
      "activation": {"slope": jnp.array([0.25])},
      "excite": {"kernel": jnp.array([[[[1.0, -2.0]]]])},
    }
  }


# squeeze: ±(1·3 + 2·(-1)) = ±1; PReLU: 1 or -0.25; excite: ×(1, -2).
@pytest.mark.parametrize(
  "sign, logits", [(1, [1, -2]), (-1, [-0.25, 0.5])], ids=["plus", "minus"]
)
def test_acam_by_hand_on_both_sides_of_the_prelu(sign, logits):
  params = {"params": tiny_acam(sign)}
  weights = layers.ACAM(2, weights_only=True).apply(params, TINY)
  assert weights.shape == (1, 1, 1, 2)
  want = [1 / (1 + np.exp(-v)) for v in logits]
  np.testing.assert_allclose(weights[0, 0, 0], want, 1e-6)
  scaled = layers.ACAM(2).apply(params, TINY)
  np.testing.assert_allclose(scaled, TINY * np.array(want), 1e-6)


def tiny_msam():
  # Centre tap 1 and the tap three columns to the left 10: off the 2×2 map
  # everywhere, so it must see zeros. One row up: 0.5.
  kernel = np.zeros((7, 7, 1, 1), np.float32)
  kernel[3, 3], kernel[3, 0], kernel[2, 3] = 1, 10, 0.5
  return {"conv": {"kernel": jnp.asarray(kernel)}}


# Row 0 has zeros above it: [4, 2]. Row 1: [3 + 4/2, 6 + 2/2] = [5, 7].
TINY_SPATIAL = 1 / (1 + np.exp(-np.array([[4.0, 2.0], [5.0, 7.0]])))


def test_msam_by_hand_with_zero_padding_and_max_over_channels():
  params = {"params": tiny_msam()}
  weights = layers.MSAM(weights_only=True).apply(params, TINY)
  assert weights.shape == (1, 2, 2, 1)
  np.testing.assert_allclose(weights[0, :, :, 0], TINY_SPATIAL, 1e-6)
  scaled = layers.MSAM().apply(params, TINY)
  want = TINY * TINY_SPATIAL[None, :, :, None]
  np.testing.assert_allclose(scaled, want, 1e-6)


def test_msam_averages_before_the_max():
  kernel = np.zeros((7, 7, 2, 1), np.float32)
  kernel[3, 3, :, 0] = 2, -1
  weights = layers.MSAM(avg_pool=True, weights_only=True).apply(
    {"params": {"conv": {"kernel": kernel}}}, TINY
  )
  # 2·mean - max: means are [[2.5, 1], [0.5, 0]].
  want = 1 / (1 + np.exp(-np.array([[1.0, 0.0], [-2.0, -6.0]])))
  np.testing.assert_allclose(weights[0, :, :, 0], want, 1e-6)


def test_bam_by_hand():
  params = {"params": {"acam": tiny_acam(1), "msam": tiny_msam()}}
  channel = 1 / (1 + np.exp(-np.array([1.0, -2.0])))
  want = channel * TINY_SPATIAL[None, :, :, None] * TINY
  np.testing.assert_allclose(layers.BAM(2).apply(params, TINY), want, 1e-6)


def test_padding_of_the_spatial_conv_is_zeros():
  # All ones: a constant map's edge sees 4×4 of the 49 taps, its centre all.
  params = {"params": {"conv": {"kernel": jnp.full((7, 7, 1, 1), 0.1)}}}
  weights = layers.MSAM(weights_only=True).apply(params, jnp.ones((1, 9, 9, 3)))
  np.testing.assert_allclose(weights[0, 0, 0, 0], sigmoid(1.6), 1e-6)
  np.testing.assert_allclose(weights[0, 4, 4, 0], sigmoid(4.9), 1e-6)


@pytest.mark.parametrize(
  "kind, channels, reduction, want",
  [
    ("none", 64, 16, 0),
    ("bam", 64, 16, 565),
    ("bam", 256, 16, 2 * 256 * 16 + 16 + 49),
    ("bam", 24, 8, 2 * 24 * 3 + 3 + 49),
    ("ca", 64, 16, 580),
    ("cca", 64, 16, 580),
    ("se", 64, 16, 512),
    ("cbam", 64, 16, 610),
    ("pa", 64, 16, 4160),
    ("la", 64, 16, 3 * (9 * 64 * 4 + 4) + 9 * 12 * 64 + 64),
    ("acam", 64, 16, 516),
    ("msam", 64, 16, 49),
    ("acam_maxpool", 64, 16, 516),
    ("msam_avgpool", 64, 16, 98),
    ("bam_allpool", 64, 16, 614),
    # ESA: 1×1 of 64 to 16, 16 to 16 and 16 to 64, and four times 1×1 and 3×3.
    ("esa_cca", 64, 16, 1040 + 272 + 1088 + 4 * (256 + 160) + 580),
  ],
)
def test_number_of_parameters(kind, channels, reduction, want):
  net = Net(layers.Attention(kind, reduction))
  x = jnp.zeros((1, 4, 4, channels))
  assert count(jax.eval_shape(net.init, jax.random.key(0), x)) == want


def test_none_is_the_identity():
  x = random_features()
  np.testing.assert_array_equal(Net(layers.Attention()).apply({}, x), x)


def test_prelu_starts_at_a_quarter():
  x = random_features()
  params = jax.jit(layers.BAM().init)(jax.random.key(0), x)["params"]
  slope = params["acam"]["mlp"]["activation"]["slope"]
  np.testing.assert_array_equal(slope, np.full(2, 0.25))


@pytest.mark.parametrize(
  ("kind", "given"),
  [*((kind, "dtype") for kind in KINDS), ("bam", "input"), ("cca", "input")],
)
def test_bfloat16_computes_near_float32_with_float32_parameters(kind, given):
  x = random_features()
  net, variables = build(kind, x)
  want = compiled(net)(variables, x)
  dtype = jnp.bfloat16
  low = Net(layers.Attention(kind, 4, dtype))
  fresh = jax.eval_shape(low.init, jax.random.key(0), x)
  assert {p.dtype for p in jax.tree.leaves(fresh)} == {jnp.dtype("float32")}
  given = x.astype(dtype) if given == "input" else x
  got = compiled(low)(variables, given)
  assert jax.eval_shape(low.apply, variables, x.astype(dtype)).dtype == dtype
  error = jnp.abs(got.astype(jnp.float32) - want)
  # bf16 keeps 8 bits; a few roundings in a row, relative to the largest value.
  assert error.max() < 0.02 * jnp.abs(want).max()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_and_reach_every_parameter(kind):
  x = random_features()
  net, variables = build(kind, x)

  def loss(v, x):
    return jnp.mean(net.apply(v, x) ** 2)

  gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
  by_params, by_input = gradient(variables, x)
  assert jnp.isfinite(by_input).all() and jnp.any(by_input != 0)
  for path, g in jax.tree_util.tree_leaves_with_path(by_params):
    name = jax.tree_util.keystr(path)
    assert jnp.isfinite(g).all(), name
    assert jnp.any(g != 0), name


@pytest.mark.parametrize("kind", ["bam", "cca"])
def test_gradients_equal_finite_differences(kind):
  x = random_features(shape=(1, 4, 4, 16))
  net, variables = build(kind, x)
  test_util.check_grads(
    jax.jit(net.apply), (variables, x), 1, ["rev"], 3e-2, 3e-2, 1e-3
  )


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_gradient_of_cca_is_finite_at_a_constant_map(value):
  x = jnp.full((1, 4, 4, 16), value)
  net, variables = build("cca", x)
  total = jax.jit(jax.grad(lambda v, x: net.apply(v, x).sum(), argnums=(0, 1)))
  gradients = total(variables, x)
  assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(gradients))


def test_gradient_is_the_papers_product_rule():
  # Eq. 6: dBAM/dF = dACAM/dF·MSAM·F + dMSAM/dF·F·ACAM + ACAM·MSAM.
  x = random_features(shape=(1, 5, 6, 16))
  params = build("bam", x)[1]["params"]["attention"]
  acam = layers.ACAM(4, weights_only=True)
  msam = layers.MSAM(weights_only=True)

  def channel(x):
    return acam.apply({"params": params["acam"]}, x)

  def spatial(x):
    return msam.apply({"params": params["msam"]}, x)

  def whole(x):
    return layers.BAM(4).apply({"params": params}, x)

  @jax.jit
  def forward(x, direction):
    a, da = jax.jvp(channel, (x,), (direction,))
    s, ds = jax.jvp(spatial, (x,), (direction,))
    product = da * s * x + ds * x * a + a * s * direction
    return jax.jvp(whole, (x,), (direction,))[1], product

  for seed in range(3):
    got, want = forward(x, random_features(seed + 10, x.shape))
    np.testing.assert_allclose(got, want, 1e-5, 1e-6)

  # The same in reverse mode: jax.grad of <u, BAM(F)>.
  @jax.jit
  def backward(x, u):
    a, channel_vjp = jax.vjp(channel, x)
    s, spatial_vjp = jax.vjp(spatial, x)
    product = (
      channel_vjp((u * s * x).sum((1, 2), keepdims=True))[0]
      + spatial_vjp((u * x * a).sum(-1, keepdims=True))[0]
      + u * a * s
    )
    return jax.grad(lambda x: (u * whole(x)).sum())(x), product

  got, want = backward(x, random_features(20, x.shape))
  np.testing.assert_allclose(got, want, 1e-4, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_jit_and_vmap_change_nothing(kind):
  x = random_features(shape=(3, 5, 7, 16))
  net, variables = build(kind, x)
  want = compiled(net)(variables, x)
  if kind in ("bam", "cca"):  # Op by op, they compile for seconds.
    eager = net.apply(variables, x)
    np.testing.assert_allclose(eager, want, 1e-5, 1e-6)
  over_images = jax.jit(jax.vmap(net.apply, in_axes=(None, 0)))
  mapped = over_images(variables, x[:, None])
  np.testing.assert_allclose(mapped[:, 0], want, 1e-5, 1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1, 1, 16), (1, 3, 11, 24)])
def test_any_height_and_width(kind, shape):
  x = random_features(shape=shape)
  init = Net(layers.Attention(kind)).init_with_output
  assert jax.eval_shape(init, jax.random.key(0), x)[0].shape == shape


@pytest.mark.parametrize(
  "kind", [k for k in KINDS if k not in ("pa", "msam", "msam_avgpool")]
)
def test_too_few_channels_are_refused(kind):
  with pytest.raises(ValueError, match="at least as many channels; got 8"):
    build(kind, jnp.zeros((1, 4, 4, 8)), reduction=16)


def test_unknown_attention_is_refused():
  with pytest.raises(ValueError, match="unknown attention 'bma'.*bam"):
    layers.Attention("bma")


def test_reductions_below_one_are_refused():
  with pytest.raises(ValueError, match="at least 1; got 0"):
    build("bam", jnp.zeros((1, 4, 4, 8)), reduction=0)


@pytest.mark.parametrize("kind", KINDS)
def test_other_than_four_axes_are_refused(kind):
  net, variables = build(kind, random_features())
  for shape in ((9, 8, 32), (1, 2, 9, 8, 32)):
    with pytest.raises(ValueError, match="N×H×W×C"):
      net.apply(variables, jnp.zeros(shape))
