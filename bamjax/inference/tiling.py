"""How an image is cut into windows, each of which keeps the tile inside."""

import dataclasses
import math

import numpy as np

# Sides that windows are padded to, so that images of many sizes share
# programs: 1.5 times the pixels' work at most where they are small.
_SIDES = (
  32,
  64,
  96,
  128,
  192,
  256,
  384,
  512,
  768,
  1024,
  1536,
  2048,
  3072,
  4096,
)


@dataclasses.dataclass(frozen=True)
class Span:
  """One axis of a tile, in LR pixels.

  Attributes:
    start, stop: the tile's own pixels.
    window: where the window starts.
  """

  start: int
  stop: int
  window: int

  @property
  def own(self) -> slice:
    """The tile's pixels in the image."""
    return slice(self.start, self.stop)

  @property
  def inside(self) -> slice:
    """The tile's pixels in the window."""
    return slice(self.start - self.window, self.stop - self.window)


@dataclasses.dataclass(frozen=True)
class Axis:
  """One axis of an image.

  Attributes:
    length: LR pixels of the image.
    window: of each window, more than `length` where it is padded.
    spans: one for each tile.
  """

  length: int
  window: int
  spans: tuple[Span, ...]

  @property
  def padded(self) -> bool:
    """Whether windows hold more than the image."""
    return self.window > self.length

  def flags(self, part: slice) -> np.ndarray:
    """A part of a window, as flags."""
    flags = np.zeros(self.window, bool)
    flags[part] = True
    return flags

  @property
  def valid(self) -> np.ndarray:
    """The part of each window that is image, as flags."""
    return self.flags(slice(self.length))


def whole(length: int, padded: bool) -> Axis:
  """An axis that is not cut, padded to one of a few lengths if asked."""
  return inside(length, _rounded(length) if padded else length)


def inside(length: int, window: int) -> Axis:
  """An axis that is not cut, in a window of at least its length."""
  return Axis(length, window, (Span(0, length, 0),))


def cut(length: int, tile: int, halo: int, padded: bool) -> Axis:
  """An axis in tiles of equal length.

  Args:
    length: of the image, in LR pixels.
    tile: at most so many pixels a tile.
    halo: pixels that a window has on each side of its tile, except at the
      image's edge, where it is moved inwards.
    padded: windows take one of a few lengths, `tile + 2 * halo` at most.
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
  """The least of a few lengths that holds so many pixels."""
  for side in _SIDES:
    if side >= length:
      return side
  return math.ceil(length / 1024) * 1024
