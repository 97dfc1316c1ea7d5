"""Winograd's convolutions equal direct ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bamjax.layers import winograd


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
