"""Coarse maps against PyTorch's operations and a window's own part of them."""

import jax.numpy as jnp
import numpy as np
import pytest

from bamjax.layers import compile_for
from bamjax.layers.coarse import Aligned
from bamjax.layers.coarse import CellMax
from bamjax.layers.coarse import Grid
from bamjax.layers.coarse import max_pool
from bamjax.layers.coarse import Spread


def draw(*shape):
  return np.random.default_rng(0).standard_normal(shape, np.float32)


def planes(torch, x):
  return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


@pytest.mark.parametrize("height, width", [(16, 24), (17, 31), (79, 15)])
def test_cells_are_pytorchs_adaptive_maxima(height, width):
  torch = pytest.importorskip("torch")
  x = draw(2, height, width, 3)
  want = torch.nn.functional.adaptive_max_pool2d(
    planes(torch, x), (height // 8, width // 8)
  )
  got = CellMax().apply({}, x)
  np.testing.assert_array_equal(np.moveaxis(got, -1, 1), want.numpy())


def test_an_image_smaller_than_a_cell_has_one():
  x = draw(1, 5, 7, 2)
  got = CellMax().apply({}, x)
  np.testing.assert_array_equal(got, x.max((1, 2), keepdims=True))


@pytest.mark.parametrize("height, width", [(4, 20), (15, 1), (16, 14)])
def test_a_small_image_repeats_its_edge(height, width):
  x = draw(1, height, width, 2)
  missing = [(0, max(15 - length, 0)) for length in (height, width)]
  want = np.pad(x, ((0, 0), *missing, (0, 0)), "edge")
  got = Aligned(pitch=6, seen=15).apply({}, x)
  np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("height, width", [(7, 12), (31, 9)])
def test_maxima_for_onnx_are_the_same(height, width):
  x = draw(2, height, width, 3)
  with compile_for("onnx"):
    got = max_pool(x, 7, 3)
  np.testing.assert_array_equal(got, max_pool(x, 7, 3))


@pytest.mark.parametrize(
  "grid, bilinear", [(Grid(8), False), (Grid(8), True), (Grid(6, 15), True)]
)
def test_pixels_are_pytorchs(grid, bilinear):
  torch = pytest.importorskip("torch")
  mode = "bilinear" if bilinear else "nearest"
  for height, width in ((16, 24), (61, 84), (33, 200)):
    shape = grid.count(height), grid.count(width)
    cells = draw(1, *shape, 2)
    want = torch.nn.functional.interpolate(
      planes(torch, cells), (height, width), mode=mode
    )
    like = jnp.zeros((1, height, width, 1))
    got = Spread(grid, bilinear).apply({}, cells, like)
    np.testing.assert_allclose(np.moveaxis(got, -1, 1), want, atol=1e-5)


def test_the_nearest_cell_is_pytorchs_for_every_length():
  # Rounding in float32 decides where a pixel is between two cells.
  torch = pytest.importorskip("torch")
  grid = Grid(8)
  for length in range(800, 900):
    cells = np.arange(grid.count(length), dtype=np.float32).reshape(1, -1, 1, 1)
    want = torch.nn.functional.interpolate(
      planes(torch, cells), (length, 1), mode="nearest"
    )
    got = Spread(grid).apply({}, cells, jnp.zeros((1, length, 1, 1)))
    np.testing.assert_array_equal(np.ravel(got), want.numpy().ravel())


@pytest.mark.parametrize("start", [0, 13, 40])
def test_a_window_has_the_cells_of_its_image(start):
  x, size = draw(1, 83, 90, 2), 43
  pool = CellMax()
  spread = Spread(pool.grid)
  whole = spread.apply({}, pool.apply({}, x), x)
  window = x[:, start : start + size]
  place = (np.int32(start), np.int32(83)), (np.int32(0), np.int32(90))
  cells = pool.apply({}, window, place=place)
  got = spread.apply({}, cells, window, place=place)
  # Cells at the window's edges may be cut.
  inner = slice(10 if start else 0, -10 if start < 40 else None)
  want = whole[:, start : start + size][:, inner]
  np.testing.assert_array_equal(got[:, inner], want)
