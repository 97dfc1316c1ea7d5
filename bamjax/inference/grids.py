"""What is known of an array in a trace: which axes are rows or columns.

Sizes are numbers, or expressions in the image's height and width.
"""

from collections.abc import Iterable
import dataclasses
import math
import numbers
from typing import Any

# A size: a number, or an expression in the image's height and width.
Size = Any


class UnknownError(Exception):
  """An operation's reach is not known; the message says in which case."""


@dataclasses.dataclass(frozen=True)
class Plain:
  """Part of an axis that has nothing to do with the image's pixels."""

  size: Size


@dataclasses.dataclass(frozen=True)
class Same(Plain):
  """An axis along which all values are equal."""


@dataclasses.dataclass(frozen=True)
class Grid(Plain):
  """Rows or columns of pixels.

  Attributes:
    name: the length of the image along it.
    fine: values per LR pixel.
    low: values at the start of a tile's window that differ from the image's.
    high: those at its end.
    outside: what is where a window extends beyond the image: "zero", "edge"
      (repeats the image's edge), "cut" (a part of that), or "any".
  """

  name: Size
  fine: int = 1
  low: int = 0
  high: int = 0
  outside: str = "edge"


@dataclasses.dataclass(frozen=True)
class Edge(Plain):
  """A few rows or columns at an edge of the image.

  Attributes:
    name: the length of the image along the axis.
    end: whether they are at its end.
    depth: values from that edge to the farthest one.
    outside: that of the rows or columns.
  """

  name: Size
  end: bool
  depth: int
  outside: str


Part = Plain | Same | Grid | Edge
# An axis is made of parts, with the last part varying fastest. Parts of size 1
# are left out.
Axis = tuple[Part, ...]


@dataclasses.dataclass(frozen=True)
class Value:
  """What is known of an array.

  Attributes:
    axes: its axes.
    unpadded: the first operation that padding changes; "" if there is none.
  """

  axes: tuple[Axis, ...]
  unpadded: str = ""

  @property
  def parts(self) -> list[Part]:
    """The parts of all axes, in order."""
    return [part for axis in self.axes for part in axis]

  @property
  def varies(self) -> bool:
    """Whether it depends on the place in the image, or on its size."""
    return any(
      isinstance(part, Grid | Edge) or not is_fixed(part.size)
      for part in self.parts
    )


@dataclasses.dataclass(frozen=True)
class Unknown:
  """An array that a tile may have differently, because of an operation."""

  operation: str


Known = Value | Unknown


def is_fixed(size: Size) -> bool:
  """Whether a size is a number, and does not depend on the image's."""
  return isinstance(size, numbers.Integral)


def length(axis: Axis) -> Size:
  """Number of values along an axis."""
  return math.prod((part.size for part in axis), start=1)


def has_pixels(axis: Axis) -> bool:
  """Whether an axis has to do with the image."""
  return Value((axis,)).varies


def plain_axis(size: Size) -> Axis:
  """An axis of a size that has nothing to do with the image."""
  return (Plain(size),) if size != 1 else ()


def refuse_pixels(axes: Iterable[Axis], what: str = " over pixels") -> None:
  """Raises UnknownError if axes have to do with the image."""
  if Value(tuple(axes)).varies:
    raise UnknownError(what)


def outside_of(part: Part) -> str:
  """What is outside the image; "" where there is no outside."""
  return part.outside if isinstance(part, Grid | Edge) else ""


def with_outside(outside: str, axes: Iterable[Axis]) -> list[Axis]:
  """Axes with something else outside the image."""
  return [
    tuple(
      dataclasses.replace(part, outside=outside)
      if isinstance(part, Grid)
      else part
      for part in axis
    )
    for axis in axes
  ]


def unzeroed(axes: Iterable[Axis]) -> list[Axis]:
  """Axes of values that are no longer 0 outside the image."""
  axes = list(axes)
  zero = any(outside_of(part) == "zero" for axis in axes for part in axis)
  return with_outside("any", axes) if zero else axes


def covers(value: Value) -> bool:
  """Whether an array is N×h×w×C, with a whole number of values per pixel."""
  return all(
    len(axis) == 1
    and isinstance(axis[0], Grid)
    and axis[0].size == axis[0].fine * axis[0].name
    for axis in value.axes[1:3]
  )


def _join_parts(a: Part, b: Part) -> Part:
  """A part of an axis that depends on two parts."""
  if a.size != b.size:
    raise UnknownError(" of values in different places")
  if isinstance(a, Same):
    return b
  if isinstance(b, Same):
    return a
  outside = outside_of(a) if outside_of(a) == outside_of(b) else "any"
  match a, b:
    case Grid(), Grid() if a.name == b.name and a.fine == b.fine:
      ends = max(a.low, b.low), max(a.high, b.high)
      return Grid(a.size, a.name, a.fine, *ends, outside)
    case Edge(), Edge() if a.name == b.name and a.end == b.end:
      return Edge(a.size, a.name, a.end, max(a.depth, b.depth), outside)
    case Plain(), Edge() if type(a) is Plain:
      return b
    case _, Plain() if type(b) is Plain and not isinstance(a, Grid):
      return a
  raise UnknownError(" of values in different places")


def join_axes(axes: Iterable[Axis]) -> Axis:
  """An axis that depends on several; those of size 1 are repeated."""
  total: Axis = ()
  for axis in axes:
    if not axis or not total:
      total = total or axis
    elif len(axis) == len(total):
      total = tuple(map(_join_parts, total, axis))
    elif all(isinstance(part, Same) for part in total):
      total = axis
    elif not all(isinstance(part, Same) for part in axis):
      raise UnknownError(" of values in different places")
  return total
