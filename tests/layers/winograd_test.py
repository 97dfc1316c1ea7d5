"""Winograd's convolutions equal direct ones, and stay on the CPU."""

import jax
from jax import export
import jax.numpy as jnp
import numpy as np
import pytest

from bamjax.layers import Conv
from bamjax.layers import convolution
from bamjax.layers import winograd
from bamjax.layers.convolution import many_runs


def draw(seed, *shape):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def direct(x, kernel):
  """In float64, by NumPy."""
  _, h, w, _ = x.shape
  x = np.pad(np.float64(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
  return sum(
    x[:, i : i + h, j : j + w] @ np.float64(kernel[i, j])
    for i in range(3)
    for j in range(3)
  )


def error(got, want):
  """Largest difference relative to the largest value."""
  return np.abs(np.asarray(got) - want).max() / np.abs(want).max()


@pytest.mark.parametrize("m", [2, 4])
def test_the_transforms_make_a_filter_of_three_taps(m):
  a, g, b = winograd.transforms(m)
  tile, taps = np.arange(1.0, m + 3) ** 2, np.array([2.0, -1.0, 5.0])
  want = np.correlate(tile, taps, "valid")
  np.testing.assert_allclose(a @ ((g @ taps) * (b @ tile)), want, rtol=1e-12)


@pytest.mark.parametrize("height, width", [(8, 8), (9, 14), (15, 11)])
@pytest.mark.parametrize("form", ["striped", "2×4", "4×2", "4×4"])
def test_equals_the_direct_sum(form, height, width):
  x, kernel = draw(0, 2, height, width, 20), draw(1, 3, 3, 20, 24)
  if form == "striped":
    got = jax.jit(winograd.striped)(x, kernel)
  else:
    tile = tuple(map(int, form.split("×")))
    got = jax.jit(winograd.tiled, static_argnums=2)(x, kernel, tile)
  assert got.dtype == jnp.float32
  assert error(got, direct(x, kernel)) < 1e-5


@pytest.mark.parametrize("images", [1, 2, 4])
def test_the_kernels_gradient_equals_the_direct_one(images):
  x, dy = draw(0, 4, 13, 9, 16), draw(1, 4, 13, 9, 18)
  padded = np.pad(np.float64(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
  want = np.stack(
    [
      np.einsum("nhwc,nhwo->co", padded[:, i : i + 13, j : j + 9], dy)
      for i in range(3)
      for j in range(3)
    ]
  ).reshape(3, 3, 16, 18)
  got = jax.jit(winograd.kernel_gradient, static_argnums=2)(x, dy, images)
  assert error(got, want) < 1e-5


def gradients(x, kernel, dy):
  y, pull = jax.vjp(convolution.convolve, x, kernel)
  return y, *pull(dy)


@pytest.mark.parametrize("small", [True, False])
def test_a_conv_that_runs_many_times_equals_one_that_runs_once(
  small, monkeypatch
):
  if not small:
    monkeypatch.setattr(convolution, "_SMALL", 0)
    monkeypatch.setattr(convolution, "_NARROW", 0)
  x, kernel = draw(0, 2, 10, 12, 32), draw(1, 3, 3, 32, 16)
  dy = draw(2, 2, 10, 12, 16)
  once = jax.jit(gradients)(x, kernel, dy)
  # A function of its own: what `small` changes is not in jit's cache key.
  with many_runs(True):
    many = jax.jit(lambda *args: gradients(*args))(x, kernel, dy)
  for a, b in zip(many, once, strict=True):
    assert error(a, np.asarray(b)) < 1e-5
    assert (np.asarray(a) != np.asarray(b)).any()


def text(function, *args, platforms=("cpu",)):
  exported = export.export(jax.jit(function), platforms=platforms)(*args)
  return exported.mlir_module()


def test_only_the_cpu_leaves_xlas_convolution():
  x, kernel = draw(0, 1, 16, 16, 32), draw(1, 3, 3, 32, 32)
  with many_runs(True):
    for platform in ("cuda", "tpu"):
      module = text(
        lambda *a: gradients(*a), x, kernel, x, platforms=[platform]
      )
      assert module.count("stablehlo.convolution") == 3
      assert "stablehlo.while" not in module
    assert "stablehlo.convolution" not in text(
      lambda *a: gradients(*a), x, kernel, x
    )


@pytest.mark.parametrize(
  "options",
  [{"dilation": 2}, {"kernel_size": 5}, {"dtype": jnp.bfloat16}, "narrow"],
)
def test_other_convs_stay_as_they_are(options):
  narrow = options == "narrow"
  module = Conv(8 if narrow else 32, **({} if narrow else options))
  x = draw(0, 1, 16, 16, 32)
  variables = module.init(jax.random.key(0), x)
  with many_runs(True):
    many = text(lambda v, x: module.apply(v, x), variables, x)
  assert "stablehlo.convolution" in many


def test_training_picks_it_by_the_size_of_its_batch(monkeypatch):
  x, kernel = draw(0, 2, 16, 16, 32), draw(1, 3, 3, 32, 32)

  def step():
    return text(lambda *args: gradients(*args), x, kernel, x)

  assert step().count("stablehlo.convolution") == 3
  monkeypatch.setattr(convolution, "_WORTH", 1)
  assert "stablehlo.convolution" not in step()


@pytest.mark.parametrize("transform", ["vmap", "scan", "remat"])
def test_works_inside_transformations(transform):
  x, kernel = draw(0, 3, 1, 10, 10, 16), draw(1, 3, 3, 16, 16)
  forms = {
    "vmap": lambda f: jax.vmap(f),
    "scan": lambda f: lambda x: jax.lax.map(f, x),
    "remat": lambda f: jax.vmap(jax.checkpoint(f)),
  }

  def total(kernel):
    f = forms[transform](lambda a: convolution.convolve(a, kernel))
    return jnp.sum(f(x) ** 2)

  with many_runs(True):
    many = jax.jit(jax.value_and_grad(total))(kernel)
  once = jax.jit(jax.value_and_grad(total))(kernel)
  for a, b in zip(many, once, strict=True):
    assert error(a, np.asarray(b)) < 1e-5
