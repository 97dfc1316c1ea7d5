"""Coarse maps of an image: a value for each cell of a grid, and back to pixels.

The places of the cells depend on the size of the whole image. Tiled inference
therefore intercepts these layers, and tells them where their window lies.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

from flax import linen as nn
import jax
from jax import core
from jax import lax
import jax.numpy as jnp

from bamjax.layers import purpose

# Where a window lies along an axis: its first pixel, which may be negative, and
# the number of pixels of the image. Both may be traced or symbolic.
Extent = tuple[Any, Any]
# Of its rows, and of its columns. None: the window is the image.
Place = tuple[Extent, Extent] | None


@dataclasses.dataclass(frozen=True)
class Grid:
  """Cells along an axis.

  Attributes:
    pitch: pixels from a cell to the next.
    seen: pixels that a cell sees; 0 if the cells cover the axis, each with a
      length of `pitch` or more, like PyTorch's adaptive pools.
  """

  pitch: int
  seen: int = 0

  @property
  def least(self) -> int:
    """Pixels of a map that is made for one cell by `Aligned` or `CellMax`."""
    return self.seen or 1

  @property
  def step(self) -> int:
    """Most pixels from a cell to the next, in images of 64 pixels or more."""
    return self.pitch if self.seen else self.pitch + 1

  @property
  def reach(self) -> int:
    """Most pixels between a pixel and those that its cells see.

    In images of 64 pixels or more; neighbouring cells are `step` farther away.
    """
    if not self.seen:
      return self.step
    # Enlarging stretches the cells, because the last pixels have none.
    return self.seen + self.pitch + 1

  def count(self, length: Any) -> Any:
    """Number of cells on an axis with this many pixels, at least 1."""
    if not self.seen:
      return _at_least(length // self.pitch, 1)
    return (_at_least(length, self.seen) - self.seen) // self.pitch + 1

  def first(self, extent: Extent) -> Any:
    """The cell that the first row of a window's coarse map is for."""
    start, length = extent
    start = jnp.maximum(start, 0)
    if not self.seen:
      return start * self.count(length) // length
    return start // self.pitch

  def valid(self, cells: int, extent: Extent) -> jax.Array:
    """Which rows of a window's coarse map are cells of the image, (cells,)."""
    index = self.first(extent) + _numbers(cells)
    return index < self.count(extent[1])


def _at_least(length: Any, least: int) -> Any:
  """max(length, least), also if the length is symbolic or traced."""
  if isinstance(length, jax.Array):
    return jnp.maximum(length, least)
  return core.max_dim(length, least)


def _numbers(count: Any) -> jax.Array:
  """The numbers from 0 to count - 1, int32.

  As `jnp.arange`, which jax2onnx does not convert if the count is symbolic.
  """
  return lax.iota(jnp.int32, count)


class CellMax(nn.Module):
  """Adaptive maximum: N×H×W×C to N×⌊H/size⌋×⌊W/size⌋×C, at least N×1×1×C.

  Cell i of n has the rows from ⌊i·H/n⌋ to ⌈(i+1)·H/n⌉, as PyTorch's
  `adaptive_max_pool2d` has. It is a module, though it has no parameters, so
  that tiled inference can intercept it.

  Attributes:
    size: pixels of a cell, or a few more.
  """

  size: int = 8

  @property
  def grid(self) -> Grid:
    """The cells."""
    return Grid(self.size)

  def __call__(self, x: jax.Array, place: Place = None) -> jax.Array:
    """Pools x, N×H×W×C, at least 1×1.

    Args:
      x: features.
      place: where x lies in its image. The result then has some cells more,
        which may be outside the image or seen in part.
    """
    for axis in (1, 2):
      x = self._pooled(x, axis, place and place[axis - 1])
    return x

  def _pooled(self, x: jax.Array, axis: int, place: Extent | None) -> jax.Array:
    length = x.shape[axis]
    if place is None:
      if isinstance(length, int) and length % self.size == 0:
        count = length // self.size
        shape = (*x.shape[:axis], count, self.size, *x.shape[axis + 1 :])
        return jnp.max(x.reshape(shape), axis=axis + 1)
      index = _numbers(self.grid.count(length))
      start, whole = 0, jnp.asarray(length, jnp.int32)
    else:
      x = jnp.where(_across(inside(length, place), axis), x, -jnp.inf)
      index = self.grid.first(place) + _numbers(length // self.size + 2)
      start, whole = place
    count = self.grid.count(whole)
    # Not `//`, which jax2onnx can't convert if the count is symbolic.
    top = lax.div(index * whole, count) - start
    bottom = lax.div((index + 1) * whole + count - 1, count) - start
    # A cell has fewer than twice `size` pixels: two runs, which may overlap.
    runs = _running_max(x, self.size, axis)
    y, other = (
      jnp.take(runs, jnp.clip(first, 0, length - 1), axis=axis)
      for first in (top, jnp.maximum(bottom - self.size, top))
    )
    y = jnp.maximum(y, other)
    if place is None:
      return y
    return jnp.where(_across(index < count, axis), y, 0)


def _running_max(x: jax.Array, size: int, axis: int) -> jax.Array:
  """The maximum of each pixel and the size - 1 after it, along an axis."""
  widths = [(0, 0)] * x.ndim
  widths[axis] = (0, size - 1)
  padded = jnp.pad(x, widths, constant_values=-jnp.inf)
  return _window_max(padded, size, 1, axis)


def max_pool(x: jax.Array, size: int, stride: int) -> jax.Array:
  """The maximum in size×size windows, without padding.

  Args:
    x: N×H×W×C, at least `size`×`size` pixels.
    size: height and width of the windows.
    stride: pixels from a window to the next.
  """
  if not purpose.has_one_form():
    return nn.max_pool(x, (size, size), (stride, stride))
  # jax2onnx thinks that a maximum of a symbolic size is as large as x.
  for axis in (1, 2):
    x = _window_max(x, size, stride, axis)
  return x


def _window_max(x: jax.Array, size: int, stride: int, axis: int) -> jax.Array:
  """The maximum in windows along an axis."""
  room = x.shape[axis] - size + 1
  parts = (lax.slice_in_dim(x, i, i + room, stride, axis) for i in range(size))
  return functools.reduce(jnp.maximum, parts)


class Aligned(nn.Module):
  """Makes features start at a cell of a grid; for strided convolutions.

  Features of a whole image stay as they are, but for images smaller than a
  cell, which are enlarged by repeating their edge. It is a module, though it
  has no parameters, so that tiled inference can intercept it.

  Attributes:
    pitch: see `Grid`.
    seen: see `Grid`.
  """

  pitch: int
  seen: int

  @property
  def grid(self) -> Grid:
    """The cells."""
    return Grid(self.pitch, self.seen)

  def __call__(self, x: jax.Array, place: Place = None) -> jax.Array:
    """Aligns x, N×H×W×C.

    Args:
      x: features.
      place: where x lies in its image.
    """
    for axis in (1, 2):
      length = x.shape[axis]
      if place is None:
        if not isinstance(length, int):  # jax2onnx can't convert such a pad
          rows = _numbers(_at_least(length, self.seen))
          x = jnp.take(x, jnp.minimum(rows, length - 1), axis=axis)
        elif length < self.seen:
          widths = [(0, 0)] * x.ndim
          widths[axis] = (0, self.seen - length)
          x = jnp.pad(x, widths, mode="edge" if length else "constant")
        continue
      start, whole = extent = place[axis - 1]
      rows = _numbers(max(length + self.pitch - 1, self.seen))
      rows = rows + self.pitch * self.grid.first(extent)
      rows = jnp.clip(rows, 0, whole - 1) - start
      x = jnp.take(x, jnp.clip(rows, 0, length - 1), axis=axis)
    return x


class Spread(nn.Module):
  """Enlarges a coarse map to the pixels of its image.

  It is a module, though it has no parameters, so that tiled inference can
  intercept it.

  Attributes:
    grid: the cells of the map.
    bilinear: interpolate, as PyTorch does with `align_corners=False`, instead
      of taking the nearest cell.
  """

  grid: Grid
  bilinear: bool = False

  def __call__(
    self, cells: jax.Array, like: jax.Array, place: Place = None
  ) -> jax.Array:
    """Enlarges cells, N×h×w×C, to N×H×W×C.

    Args:
      cells: the coarse map.
      like: features N×H×W×….
      place: where they lie in their image.
    """
    enlarge = self._interpolated if self.bilinear else self._nearest
    for axis in (1, 2):
      cells = enlarge(cells, like.shape[axis], axis, place and place[axis - 1])
    return cells

  def _nearest(
    self, cells: jax.Array, length: Any, axis: int, extent: Extent | None
  ) -> jax.Array:
    pitch = self.grid.pitch
    if extent is None and isinstance(length, int) and length % pitch == 0:
      return jnp.repeat(cells, pitch, axis)
    pixels, share, take = self._taker(cells, length, axis, extent)
    return take(jnp.floor(pixels * share))

  def _interpolated(
    self, cells: jax.Array, length: Any, axis: int, extent: Extent | None
  ) -> jax.Array:
    pixels, share, take = self._taker(cells, length, axis, extent)
    position = jnp.maximum((pixels + 0.5) * share - 0.5, 0)
    before = jnp.floor(position)
    weight = _across((position - before).astype(cells.dtype), axis)
    return (1 - weight) * take(before) + weight * take(before + 1)

  def _taker(
    self, cells: jax.Array, length: Any, axis: int, extent: Extent | None
  ) -> tuple[jax.Array, jax.Array, Callable[[jax.Array], jax.Array]]:
    """The pixels of an axis, cells per pixel, and what takes cells by number.

    In float32, so that rounding is PyTorch's.
    """
    first: Any = 0
    if extent is None:
      extent = (0, jnp.asarray(length))
    else:
      first = self.grid.first(extent)
    start, whole = extent
    count = jnp.asarray(self.grid.count(whole))
    pixels = (start + _numbers(length)).astype(jnp.float32)
    share = count.astype(jnp.float32) / jnp.asarray(whole, jnp.float32)

    def take(index: jax.Array) -> jax.Array:
      index = jnp.minimum(index.astype(jnp.int32), count - 1) - first
      index = jnp.clip(index, 0, cells.shape[axis] - 1)
      return jnp.take(cells, index, axis=axis)

    return pixels, share, take


Layer = Aligned | CellMax | Spread


def inside(length: int, extent: Extent) -> jax.Array:
  """Which pixels of a window are of the image, (length,) bool."""
  start, whole = extent
  pixels = start + _numbers(length)
  return (pixels >= 0) & (pixels < whole)


def _across(values: jax.Array, axis: int) -> jax.Array:
  """Values along an axis of N×H×W×C, for broadcasting."""
  return values[:, None, None] if axis == 1 else values[:, None]
