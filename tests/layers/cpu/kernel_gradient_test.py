"""Gradients of kernels, by XLA and by Winograd's algorithm."""

import jax
import numpy as np
import pytest

from bamjax.layers import compile_for
from bamjax.layers.cpu import kernel_gradient as lib


def draw(seed, *shape):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_the_transforms_compute_a_filter_of_three_taps():
  a, g, b = lib.transforms()
  tile, taps = np.arange(1.0, 7) ** 2, np.array([2.0, -1.0, 5.0])
  want = np.correlate(tile, taps, "valid")
  np.testing.assert_allclose(a @ ((g @ taps) * (b @ tile)), want, rtol=1e-12)


# 18 outputs are multiplied in pairs of columns, 48 tap by tap.
@pytest.mark.parametrize(
  "images, features", [(1, 18), (2, 48), (4, 18), (4, 48)]
)
@pytest.mark.parametrize("height, width", [(8, 8), (13, 9), (15, 11)])
def test_winograd_equals_the_direct_sum(
  images, features, height, width, monkeypatch
):
  monkeypatch.setattr(lib, "_CACHED", images * height * width * 16)
  assert 16 * 18 <= lib._NARROW < 16 * 48
  x, dy = draw(0, 4, height, width, 16), draw(1, 4, height, width, features)
  padded = np.pad(np.float64(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
  want = np.stack(
    [
      np.einsum("nhwc,nhwo->co", padded[:, i : i + height, j : j + width], dy)
      for i in range(3)
      for j in range(3)
    ]
  ).reshape(3, 3, 16, features)
  got = np.asarray(jax.jit(lambda *args: lib.by_winograd(*args))(x, dy))
  assert np.abs(got - want).max() < 1e-5 * np.abs(want).max()


@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_for_many_runs_are_the_same(groups):
  options = {"size": 3, "groups": groups, "dilation": 1}
  x, dy = draw(0, 2, 12, 14, 16), draw(1, 2, 12, 14, 8)

  def gradient(x, dy):
    return lib.kernel_gradient(x, dy, **options)

  once = jax.jit(gradient)
  with compile_for("many_runs"):
    many = jax.jit(gradient)
    assert "stablehlo.convolution" not in many.lower(x, dy).as_text()
    got = np.asarray(many(x, dy))
  assert "stablehlo.convolution" in once.lower(x, dy).as_text()
  want = np.asarray(once(x, dy))
  assert got.shape == (3, 3, 16 // groups, 8)
  assert np.abs(got - want).max() < 1e-5 * np.abs(want).max()
