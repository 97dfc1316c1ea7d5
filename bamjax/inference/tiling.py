"""Cuts an image into tiles, and places a window around each.

The network runs on the window, and the output of the tile inside it is kept.
"""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Span:
  """The extent of a tile along one axis, in LR pixels of the image.

  Attributes:
    start: first pixel of the tile.
    stop: end of the tile, exclusive.
    window: first pixel of its window.
  """

  start: int
  stop: int
  window: int

  @property
  def own(self) -> slice:
    """The tile as a part of the image."""
    return slice(self.start, self.stop)

  @property
  def inside(self) -> slice:
    """The tile as a part of its window."""
    return slice(self.start - self.window, self.stop - self.window)


@dataclasses.dataclass(frozen=True)
class Axis:
  """How an axis of an image is tiled.

  Attributes:
    length: LR pixels of the image.
    window: LR pixels of each window; more than `length` if it is padded.
    spans: the tiles, in order.
  """

  length: int
  window: int
  spans: tuple[Span, ...]

  @property
  def padded(self) -> bool:
    """Whether windows extend beyond the image."""
    return self.window > self.length

  def flags(self, part: slice) -> np.ndarray:
    """Returns a part of a window as a mask, (window,) bool."""
    flags = np.zeros(self.window, bool)
    flags[part] = True
    return flags

  @property
  def valid(self) -> np.ndarray:
    """The part of the window that is image, (window,) bool."""
    return self.flags(slice(self.length))


def whole(length: int, padded: bool) -> Axis:
  """Returns an axis with one tile, padded to one of a few lengths if asked."""
  return inside(length, _rounded(length) if padded else length)


def inside(length: int, window: int) -> Axis:
  """Returns an axis with one tile, in a window of at least its length."""
  return Axis(length, window, (Span(0, length, 0),))


def cut(length: int, tile: int, halo: int, padded: bool) -> Axis:
  """Cuts an axis into tiles of nearly equal length.

  Args:
    length: LR pixels of the image.
    tile: most LR pixels of a tile.
    halo: LR pixels of the window on each side of its tile. At the image's edge,
      the window is moved inward instead.
    padded: whether to pad windows to one of a few lengths, at most
      `tile + 2 * halo`.
  """
  longest = tile + 2 * halo
  tile = math.ceil(length / math.ceil(length / tile))
  window = tile + 2 * halo
  if padded:
    window = min(_rounded(window), longest)
  if length <= longest:
    alone = whole(length, padded)
    return Axis(length, min(alone.window, longest), alone.spans)
  spans = (
    Span(
      start,
      min(start + tile, length),
      min(max(start - halo, 0), length - window),
    )
    for start in range(0, length, tile)
  )
  return Axis(length, window, tuple(spans))


def _rounded(length: int) -> int:
  """Rounds a length up, by at most 1/16 from 512 on, and by 31 below."""
  step = max(32, 2 ** (length.bit_length() - 5))
  return math.ceil(length / step) * step
