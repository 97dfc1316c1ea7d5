"""How far a network sees, proven from its trace, for tiles and for padding.

The trace has symbolic height and width, and is followed operation by operation.
What mixes pixels in a way that is not understood here, depends on a pixel's
place in the image, or on the image's size, makes the result unknown: a tile
would differ from the whole image there.

The reach of what is understood is the support of an output pixel's gradient.
The tests hold the two equal.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import functools
import math
import numbers
from typing import Any

from jax.extend.core import Jaxpr
from jax.extend.core import JaxprEqn
from jax.extend.core import jaxprs_in_params
from jax.extend.core import Literal
from jax.extend.core import Var

# Names of the jitted functions that mark, in a trace, what `windows` replaces.
MASKED = "bamjax_masked"
POOLED = "bamjax_pooled"
# Followed by the pixels that the cells of a coarse map see to each side.
SPREAD = "bamjax_spread_"

# Operations on each value by itself.
_ELEMENTWISE = frozenset(
  "abs acos acosh add add_any and asin asinh atan atan2 atanh"
  " cbrt ceil clamp convert_element_type copy copy_p cos cosh digamma div eq"
  " erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le lgamma"
  " log log1p logistic lt max min mul name ne neg nextafter not or pow"
  " reduce_precision rem round rsqrt select_n shift_left"
  " shift_right_arithmetic shift_right_logical sign sin sinh sqrt square"
  " stop_gradient sub tan tanh xor".split()
)
# Those for which 0 stays 0.
_KEEP_ZERO = ("convert_element_type", "copy", "copy_p", "reduce_precision")
_CALLS = (
  "jit pjit closed_call core_call checkpoint remat remat2 custom_jvp_call"
  " custom_vjp_call custom_vjp_call_jaxpr"
).split()
_MOST_TURNS = 100  # of a loop that is followed

# A size: a number, or an expression in the image's height and width.
_Size = Any


class _UnknownError(Exception):
  """An operation's reach is not known; the message says in which case."""


@dataclasses.dataclass(frozen=True)
class _Plain:
  """Part of an axis that has nothing to do with the image's pixels."""

  size: _Size


@dataclasses.dataclass(frozen=True)
class _Same(_Plain):
  """An axis along which all values are equal."""


@dataclasses.dataclass(frozen=True)
class _Grid(_Plain):
  """Rows or columns of pixels.

  Attributes:
    name: the length of the image along it.
    fine: values per LR pixel.
    low: values at the start of a tile's window that differ from the image's.
    high: those at its end.
    outside: what is where a window extends beyond the image: "zero", "edge"
      (repeats the image's edge), "cut" (a part of that), or "any".
  """

  name: _Size
  fine: int = 1
  low: int = 0
  high: int = 0
  outside: str = "edge"


@dataclasses.dataclass(frozen=True)
class _Edge(_Plain):
  """A few rows or columns at an edge of the image.

  Attributes:
    name: the length of the image along the axis.
    end: whether they are at its end.
    depth: values from that edge to the farthest one.
    outside: that of the rows or columns.
  """

  name: _Size
  end: bool
  depth: int
  outside: str


_Part = _Plain | _Same | _Grid | _Edge
# An axis is made of parts, with the last part varying fastest. Parts of size 1
# are left out.
_Axis = tuple[_Part, ...]


@dataclasses.dataclass(frozen=True)
class _Value:
  """What is known of an array.

  Attributes:
    axes: its axes.
    unpadded: the first operation that padding changes; "" if there is none.
  """

  axes: tuple[_Axis, ...]
  unpadded: str = ""

  @property
  def parts(self) -> list[_Part]:
    return [part for axis in self.axes for part in axis]

  @property
  def varies(self) -> bool:
    """Whether it depends on the place in the image, or on its size."""
    return any(
      isinstance(part, _Grid | _Edge) or not _fixed(part.size)
      for part in self.parts
    )


@dataclasses.dataclass(frozen=True)
class _Unknown:
  """An array that a tile may have differently, because of an operation."""

  operation: str


_Known = _Value | _Unknown


@dataclasses.dataclass(frozen=True)
class Reach:
  """How far a network sees.

  Attributes:
    pixels: LR pixels to each side that an output pixel depends on, other than
      through pools over the whole image.
    untiled: the operation because of which tiles may differ from the whole
      image, whatever their halo is; "" if there is none.
    unpadded: the operation because of which padding may change the result; ""
      if padding is masked out everywhere.
  """

  pixels: int = 0
  untiled: str = ""
  unpadded: str = ""


def reach(jaxpr: Jaxpr, height: _Size, width: _Size, scale: int) -> Reach:
  """Returns how far a network sees.

  Args:
    jaxpr: a network that was traced for "onnx", in which all convolutions are
      one operation; its last input is the image, N×H×W×3.
    height: symbolic height of that image.
    width: its width.
    scale: how many times as high and wide the output is.
  """
  image = _Value(
    ((), (_Grid(height, height),), (_Grid(width, width),), (_Plain(3),))
  )
  inputs = [*map(_constant, jaxpr.invars[:-1]), image]
  output, *others = _follow(jaxpr, inputs, nested=False)
  if isinstance(output, _Unknown):
    return unknown(output.operation)
  pixels = 0
  for name, place in ((height, 1), (width, 2)):
    axis = output.axes[place] if len(output.axes) == 4 else ()
    if others or len(axis) != 1 or axis[0].size != scale * name:
      return unknown(f"an output of other than {scale} times the size")
    if isinstance(axis[0], _Grid):
      ends = max(axis[0].low, axis[0].high)
      pixels = max(pixels, math.ceil(ends / axis[0].fine))
  return Reach(pixels, unpadded=output.unpadded)


def unknown(operation: str) -> Reach:
  """Returns the reach of a network with an operation that is not understood."""
  return Reach(untiled=operation, unpadded=operation)


def _shape(atom: Var | Literal) -> tuple[_Size, ...]:
  return getattr(atom.aval, "shape", ())


def _fixed(size: _Size) -> bool:
  """Whether a size is a number, and does not depend on the image's."""
  return isinstance(size, numbers.Integral)


def _constant(atom: Var | Literal) -> _Value:
  """An array that does not depend on the image."""
  return _Value(tuple(map(_plain, _shape(atom))))


def _follow(
  jaxpr: Jaxpr, inputs: Sequence[_Known], nested: bool = True
) -> list[_Known]:
  """What is known of the outputs of a program, from its inputs."""
  known = dict(zip(jaxpr.invars, inputs, strict=True))

  def read(atom: Var | Literal) -> _Known:
    if isinstance(atom, Literal):
      return _constant(atom)
    # Constants of a traced program have known sizes.
    return known[atom] if atom in known else _constant(atom)

  for equation in jaxpr.eqns:
    values = [read(atom) for atom in equation.invars]
    outputs = _after(equation, values, nested)
    known.update(zip(equation.outvars, outputs, strict=True))
  return [read(atom) for atom in jaxpr.outvars]


def _after(
  equation: JaxprEqn, inputs: Sequence[_Known], nested: bool
) -> list[_Known]:
  """What is known of the outputs of an operation."""
  count = len(equation.outvars)
  if not count:  # what a transformation left of one
    return []
  values = [v for v in inputs if isinstance(v, _Value)]
  if len(values) < len(inputs):
    return [v for v in inputs if v not in values][:1] * count
  name = equation.primitive.name
  called = equation.params.get("name") if name in _CALLS else None
  if called == POOLED and nested:
    # The pools of one run of a loop's body would stand for those of all.
    return [_Unknown("Pool in a loop or a transformed function")] * count
  follow = _RULES.get(name)
  outputs: Sequence[_Known]
  try:
    if called == MASKED:
      outputs = [*map(_masked, values)]
    elif called == POOLED:
      outputs = _pooled(values[0], equation)
    elif called and called.startswith(SPREAD):
      outputs = _spread(equation, values, int(called.removeprefix(SPREAD)))
    elif name in _CALLS:
      inner, *others = jaxprs_in_params(equation.params)
      if others or len(inner.invars) != len(values):
        raise _UnknownError
      outputs = _follow(inner, values)
    elif follow is None or (name not in _LOOPS and not _vary(equation, values)):
      outputs = _elsewhere(equation, values)
    else:
      outputs = follow(equation, values)
  except _UnknownError as error:
    return [_Unknown(f"{name}{error}")] * count
  return [_checked(name, value, called) for value in outputs]


def _checked(name: str, value: _Known, called: str | None) -> _Known:
  """Names the function that an operation is in, and refuses outer products."""
  if isinstance(value, _Unknown):
    if not called or "(" in value.operation or called.startswith("_where"):
      return value
    return _Unknown(f"{called.strip('_')} ({value.operation})")
  grids = [p.name for p in value.parts if isinstance(p, _Grid | _Edge)]
  if len(grids) != len(set(map(str, grids))):
    return _Unknown(f"{name} of all pairs of pixels")
  return value


def _vary(equation: JaxprEqn, values: Sequence[_Value]) -> bool:
  """Whether an operation has to do with the image's pixels or size."""
  return any(value.varies for value in values) or not all(
    _fixed(n) for atom in equation.outvars for n in _shape(atom)
  )


def _elsewhere(
  equation: JaxprEqn, values: Sequence[_Value]
) -> Sequence[_Known]:
  """An operation on weights or pooled values, which all tiles share."""
  if _vary(equation, values) or equation.primitive.name == "dim_as_value":
    raise _UnknownError
  unpadded = _unpadded(values)
  return [
    dataclasses.replace(_constant(atom), unpadded=unpadded)
    for atom in equation.outvars
  ]


def _unpadded(values: Iterable[_Value]) -> str:
  return next((v.unpadded for v in values if v.unpadded), "")


def _value(
  equation: JaxprEqn,
  values: Sequence[_Value],
  axes: Iterable[_Axis],
  unpadded: str = "",
) -> _Value:
  """The output of an operation.

  Args:
    equation: the operation.
    values: its inputs.
    axes: the output's axes.
    unpadded: what padding changes in this operation.
  """
  if any(_outside(part) == "cut" for value in values for part in value.parts):
    unpadded = equation.primitive.name
  return _Value(tuple(axes), _unpadded(values) or unpadded)


def _outside(part: _Part) -> str:
  return part.outside if isinstance(part, _Grid | _Edge) else ""


def _now(outside: str, axes: Iterable[_Axis]) -> list[_Axis]:
  """Axes with something else outside the image."""
  return [
    tuple(
      dataclasses.replace(part, outside=outside)
      if isinstance(part, _Grid)
      else part
      for part in axis
    )
    for axis in axes
  ]


def _unzeroed(axes: Iterable[_Axis]) -> list[_Axis]:
  """Axes of values that are no longer 0 outside the image."""
  axes = list(axes)
  zero = any(_outside(part) == "zero" for axis in axes for part in axis)
  return _now("any", axes) if zero else axes


def _masked(value: _Value) -> _Value:
  """After `windows` has set what is outside the image to 0."""
  if not _covers(value):
    return value
  return dataclasses.replace(value, axes=tuple(_now("zero", value.axes)))


def _pooled(value: _Value, equation: JaxprEqn) -> list[_Value]:
  if value.varies and not _covers(value):
    raise _UnknownError(" of a part of the image")
  return [
    dataclasses.replace(_constant(atom), unpadded=value.unpadded)
    for atom in equation.outvars
  ]


def _spread(
  equation: JaxprEqn, values: Sequence[_Value], pixels: int
) -> list[_Value]:
  """A coarse map that is enlarged to the pixels that it was made of."""
  fine, _ = values
  if not _covers(fine):
    raise _UnknownError(" of a part of the image")
  axes = list(_constant(equation.outvars[0]).axes)
  for i in (1, 2):
    (grid,) = fine.axes[i]
    assert isinstance(grid, _Grid)  # it covers the image
    low, high = (end + pixels * grid.fine for end in (grid.low, grid.high))
    grid = dataclasses.replace(grid, low=low, high=high, outside="any")
    axes[i] = (grid,)
  axes[0] = fine.axes[0]
  return [_Value(tuple(axes), _unpadded(values))]


def _covers(value: _Value) -> bool:
  """Whether an array is N×h×w×C, with a whole number of values per pixel."""
  return all(
    len(axis) == 1
    and isinstance(axis[0], _Grid)
    and axis[0].size == axis[0].fine * axis[0].name
    for axis in value.axes[1:3]
  )


def _join_parts(a: _Part, b: _Part) -> _Part:
  """A part of an axis that depends on two parts."""
  if a.size != b.size:
    raise _UnknownError(" of values in different places")
  if isinstance(a, _Same):
    return b
  if isinstance(b, _Same):
    return a
  outside = _outside(a) if _outside(a) == _outside(b) else "any"
  match a, b:
    case _Grid(), _Grid() if a.name == b.name and a.fine == b.fine:
      ends = max(a.low, b.low), max(a.high, b.high)
      return _Grid(a.size, a.name, a.fine, *ends, outside)
    case _Edge(), _Edge() if a.name == b.name and a.end == b.end:
      return _Edge(a.size, a.name, a.end, max(a.depth, b.depth), outside)
    case _Plain(), _Edge() if type(a) is _Plain:
      return b
    case _, _Plain() if type(b) is _Plain and not isinstance(a, _Grid):
      return a
  raise _UnknownError(" of values in different places")


def _join_axes(axes: Iterable[_Axis]) -> _Axis:
  """An axis that depends on several; those of size 1 are repeated."""
  total: _Axis = ()
  for axis in axes:
    if not axis or not total:
      total = total or axis
    elif len(axis) == len(total):
      total = tuple(map(_join_parts, total, axis))
    elif all(isinstance(part, _Same) for part in total):
      total = axis
    elif not all(isinstance(part, _Same) for part in axis):
      raise _UnknownError(" of values in different places")
  return total


def _elementwise(equation: JaxprEqn, values: Sequence[_Value]) -> list[_Known]:
  arrays = [value for value in values if value.axes]
  several = zip(*(value.axes for value in arrays), strict=True)
  axes = [*map(_join_axes, several)]
  for axis, size in zip(axes, _shape(equation.outvars[0]), strict=True):
    if _size(axis) != size:  # one row or column, repeated
      raise _UnknownError(" of values in different places")
  if equation.primitive.name not in _KEEP_ZERO:
    axes = _unzeroed(axes)
  return [_value(equation, values, axes)]


def _same_as_inputs(
  equation: JaxprEqn, values: Sequence[_Value]
) -> list[_Known]:
  return list(values)


def _varies(axis: _Axis) -> bool:
  """Whether an axis has to do with the image."""
  return _Value((axis,)).varies


def _plain(size: _Size) -> _Axis:
  return (_Plain(size),) if size != 1 else ()


def _refuse_pixels(axes: Iterable[_Axis], what: str = " over pixels") -> None:
  """Raises _UnknownError if axes have to do with the image."""
  if _Value(tuple(axes)).varies:
    raise _UnknownError(what)


def _reduce(equation: JaxprEqn, values: Sequence[_Value]) -> list[_Known]:
  (value,) = values
  gone = equation.params["axes"]
  _refuse_pixels(value.axes[i] for i in gone)
  axes = [axis for i, axis in enumerate(value.axes) if i not in gone]
  return [_value(equation, values, _unzeroed(axes))]


def _along(
  axes_of: Callable[[Any], Sequence[int]],
) -> Callable[[JaxprEqn, Sequence[_Value]], list[_Known]]:
  """Returns the rule of operations that mix values along some axes."""

  def rule(equation: JaxprEqn, values: Sequence[_Value]) -> list[_Known]:
    (value,) = values
    axes = list(value.axes)
    mixed = axes_of(equation.params)
    outputs = []
    for atom in equation.outvars:
      for i in mixed:
        axes[i] = _mixed(value.axes[i], _shape(atom)[i])
      outputs.append(_value(equation, values, axes))
    return list(outputs)

  return rule


def _mixed(axis: _Axis, size: int) -> _Axis:
  if len(axis) == 1 and isinstance(axis[0], _Edge) and axis[0].size == size:
    return axis  # few values, all at the same edge
  _refuse_pixels([axis])
  return _plain(size)


def _transpose(equation: JaxprEqn, values: Sequence[_Value]) -> list[_Known]:
  (value,) = values
  axes = (value.axes[i] for i in equation.params["permutation"])
  return [_value(equation, values, axes)]


def _squeeze(equation: JaxprEqn, values: Sequence[_Value]) -> list[_Known]:
  (value,) = values
  gone = equation.params["dimensions"]
  _refuse_pixels((value.axes[i] for i in gone), " of one row or column")
  axes = [axis for i, axis in enumerate(value.axes) if i not in gone]
  return [_value(equation, values, axes)]


def _broadcast(equation: JaxprEqn, values: Sequence[_Value]) -> list[_Known]:
  value = values[0]
  shape = _shape(equation.outvars[0])
  axes: list[_Axis] = [(_Same(n),) if n != 1 else () for n in shape]
  places = equation.params["broadcast_dimensions"]
  for axis, place in zip(value.axes, places, strict=True):
    match axis:
      case ():
        continue  # repeated
      case (_Edge() as part,) if part.size == 1 and _fixed(shape[place]):
        axis = (dataclasses.replace(part, size=shape[place]),)
      case (_Edge(),) if axis[0].size != shape[place]:
        raise _UnknownError(" of one row or column")
    axes[place] = axis
  return [_value(equation, values, axes)]


def _reshape(equation: JaxprEqn, values: Sequence[_Value]) -> list[_Known]:
  value = values[0]
  parts = value.parts[::-1]  # the next is the last
  axes = [_gathered(parts, n) for n in equation.params["new_sizes"]]
  if parts:
    raise _UnknownError
  return [_value(equation, values, axes)]


def _gathered(parts: list[_Part], size: _Size) -> _Axis:
  """Takes parts from the end of a list that make up an axis of a size."""
  axis: list[_Part] = []
  found: _Size = 1
  while not found == size:
    if not parts:
      raise _UnknownError
    part = parts.pop()
    n = part.size
    if type(part) in (_Plain, _Same) and _fixed(n) and n > 0:
      # The axis may need a factor only; the rest is for the next.
      factor = next(
        (k for k in range(1, n) if n % k == 0 and found * k == size), n
      )
      if factor < n:
        parts.append(dataclasses.replace(part, size=n // factor))
        part = dataclasses.replace(part, size=factor)
    axis.append(part)
    found = found * part.size
  merged: list[_Part] = []
  for part in axis:
    merged = _appended(merged, part)
  return tuple(merged)


def _appended(axis: list[_Part], part: _Part) -> list[_Part]:
  """Adds a part to an axis, and merges it with the last if that is possible."""
  if not axis:
    return [part]
  *before, last = axis
  size = last.size * part.size
  if isinstance(last, _Same) and isinstance(part, _Same):
    return [*before, _Same(size)]
  plain = type(part) in (_Plain, _Same) and _fixed(part.size)
  n = part.size
  if plain and isinstance(last, _Grid):
    ends = n * last.low, n * last.high
    return [*before, _Grid(size, last.name, n * last.fine, *ends, last.outside)]
  if plain and isinstance(last, _Edge):
    depth = n * last.depth
    return [*before, _Edge(size, last.name, last.end, depth, last.outside)]
  if plain and _fixed(last.size):
    return [*before, _Plain(size)]
  if isinstance(last, _Same) or isinstance(part, _Same):
    raise _UnknownError
  return [*axis, part]


def _slice(equation: JaxprEqn, values: Sequence[_Value]) -> list[_Known]:
  (value,) = values
  params = equation.params
  axes, unpadded = [], ""
  for axis, start, stop, stride, size in zip(
    value.axes,
    params["start_indices"],
    params["limit_indices"],
    params["strides"] or [1] * len(value.axes),
    _shape(equation.outvars[0]),
    strict=True,
  ):
    whole = _size(axis)
    if start == 0 and stop == whole and stride == 1:
      axes.append(axis)
    elif not _varies(axis):
      axes.append(_plain(size))
    elif stride != 1 or len(axis) > 1:
      raise _UnknownError(" of some pixels")
    else:
      part = _cut(axis[0], start, whole - stop, size)
      axes.append((part,))
      if _outside(part) == "any":
        unpadded = "slice"
  return [_value(equation, values, axes, unpadded)]


def _size(axis: _Axis) -> _Size:
  return math.prod((part.size for part in axis), start=1)


def _cut(part: _Part, start: _Size, rest: _Size, size: _Size) -> _Part:
  """A part of rows or columns.

  Args:
    part: the rows or columns.
    start: how many are left out at the start.
    rest: how many are left out at the end.
    size: how many are left.
  """
  if isinstance(part, _Same):
    return _Same(size)
  if isinstance(part, _Grid):
    outside = "cut" if part.outside == "edge" else "any"
    if _fixed(size):
      if _fixed(start):
        return _Edge(size, part.name, False, start + size, outside)
      if _fixed(rest):
        return _Edge(size, part.name, True, rest + size, outside)
    elif _fixed(start) and _fixed(rest):
      ends = max(part.low - start, 0), max(part.high - rest, 0)
      return _Grid(size, part.name, part.fine, *ends, outside)
  raise _UnknownError(" of some pixels")


def _concatenate(equation: JaxprEqn, values: Sequence[_Value]) -> list[_Known]:
  place = equation.params["dimension"]
  size = _shape(equation.outvars[0])[place]
  along = [value.axes[place] for value in values]
  axes = [
    _join_axes(several) if i != place else ()
    for i, several in enumerate(zip(*(v.axes for v in values), strict=True))
  ]
  if not any(map(_varies, along)):
    axes[place] = _plain(size)
    if any(_unzeroed(value.axes) == list(value.axes) for value in values):
      axes = _unzeroed(axes)  # not 0 everywhere outside
    return [_value(equation, values, axes)]
  parts = [axis[0] if axis else _Plain(1) for axis in along]
  grids = [i for i, part in enumerate(parts) if isinstance(part, _Grid)]
  if len(grids) != 1 or any(len(axis) > 1 for axis in along):
    raise _UnknownError(" of pixels")
  before, (grid, *after) = parts[: grids[0]], parts[grids[0] :]
  assert isinstance(grid, _Grid)
  low = _beside(grid, before, end=False)
  high = _beside(grid, after, end=True)
  axes[place] = (
    _Grid(size, grid.name, grid.fine, grid.low + low, grid.high + high, "any"),
  )
  # What repeats the edge of an image does so in a window that is larger.
  repeats = grid.outside in ("edge", "cut") and all(
    isinstance(part, _Edge) and part.depth == 1 and part.outside == "cut"
    for part in (*before, *after)
  )
  unpadded = _unpadded(values) or ("" if repeats else "concatenate of pixels")
  return [_Value(tuple(_unzeroed(axes)), unpadded)]


def _beside(grid: _Grid, parts: Sequence[_Part], end: bool) -> int:
  """How many values are added to an end of rows or columns.

  They may be constant, the image's edge, or what is mirrored there.
  """
  count = 0
  for part in parts:
    count += part.size
  for part in parts:
    edge = isinstance(part, _Edge) and (part.name, part.end, part.depth)
    if edge and (edge[:2] != (grid.name, end) or edge[2] > count + 1):
      raise _UnknownError(" of pixels")
  if not _fixed(count):
    raise _UnknownError(" of pixels")
  return count


def _pad(equation: JaxprEqn, values: Sequence[_Value]) -> list[_Known]:
  value, filler = values
  axes, unpadded = [], ""
  for axis, (low, high, inner), size in zip(
    value.axes,
    equation.params["padding_config"],
    _shape(equation.outvars[0]),
    strict=True,
  ):
    if (low, high, inner) == (0, 0, 0):
      axes.append(axis)
    elif not _varies(axis):
      axes.append(_plain(size))
    else:
      axes.append((_slid(axis, (low, high), size, inner + 1),))
      unpadded = "pad"
  return [_value(equation, values, _unzeroed(axes), unpadded)]


def _slid(
  axis: _Axis, padding: Sequence[_Size], size: _Size, dilation: int = 1
) -> _Grid:
  """Rows or columns after a sliding window.

  Args:
    axis: the rows or columns.
    padding: values added at the start and the end.
    size: how many rows or columns result.
    dilation: distance of the rows or columns after zeros were inserted.
  """
  low, high = padding
  numbers = _fixed(low) and _fixed(high)
  if len(axis) != 1 or not isinstance(axis[0], _Grid) or not numbers:
    raise _UnknownError(" over pixels")
  grid = axis[0]
  if dilation > 1 and size != dilation * grid.size:
    raise _UnknownError(" over pixels")
  return _Grid(
    size,
    grid.name,
    dilation * grid.fine,
    max(dilation * grid.low + low, 0),
    max(dilation * grid.high + high - dilation + 1, 0),
    "any",
  )


def _convolve(equation: JaxprEqn, values: Sequence[_Value]) -> list[_Known]:
  x, kernel = values
  params = equation.params
  numbers = params["dimension_numbers"]
  batch, depth, *spatial = numbers.lhs_spec
  if kernel.varies or params["batch_group_count"] != 1:
    raise _UnknownError
  _refuse_pixels([x.axes[depth]])
  shape = _shape(equation.outvars[0])
  axes: list[_Axis] = [*map(_plain, shape)]
  axes[numbers.out_spec[0]] = x.axes[batch]
  unpadded = ""
  for i, (source, target) in enumerate(
    zip(spatial, numbers.out_spec[2:], strict=True)
  ):
    axis = x.axes[source]
    if not _varies(axis):
      continue
    if params["window_strides"][i] != 1:
      raise _UnknownError(" with a stride")
    dilation = params["lhs_dilation"][i]
    axes[target] = (_slid(axis, params["padding"][i], shape[target], dilation),)
    size = _shape(equation.invars[1])[numbers.rhs_spec[2 + i]]
    if _outside(axis[0]) != "zero" and (size, dilation) != (1, 1):
      unpadded = "a convolution other than bamjax.layers.Conv"
  return [_value(equation, values, _now("any", axes), unpadded)]


def _slide(equation: JaxprEqn, values: Sequence[_Value]) -> list[_Known]:
  """A pool in a sliding window."""
  value, *others = values
  params = equation.params
  if any(other.varies for other in others):
    raise _UnknownError
  axes = []
  for i, (axis, size) in enumerate(
    zip(value.axes, _shape(equation.outvars[0]), strict=True)
  ):
    steps = [params[f"{kind}"] for kind in ("window_strides", "base_dilation")]
    padding = tuple(params["padding"][i])
    if params["window_dimensions"][i] == 1 and padding == (0, 0):
      axes.append(axis)
    elif not _varies(axis):
      axes.append(_plain(size))
    else:
      axes.append((_slid(axis, padding, size),))
    if _varies(axis) and [step[i] for step in steps if step] != [1, 1]:
      raise _UnknownError(" with a stride")
  name = equation.primitive.name
  return [_value(equation, values, _now("any", axes), name)]


def _multiply(equation: JaxprEqn, values: Sequence[_Value]) -> list[_Known]:
  """A matrix product."""
  summed, batch = equation.params["dimension_numbers"]
  for value, places in zip(values, summed, strict=True):
    _refuse_pixels(value.axes[i] for i in places)
  pairs = zip(*batch, strict=True)
  axes = [_join_axes([values[0].axes[i], values[1].axes[k]]) for i, k in pairs]
  for value, *used in zip(values, summed, batch, strict=True):
    axes += [
      axis for i, axis in enumerate(value.axes) if i not in (*used[0], *used[1])
    ]
  return [_value(equation, values, _unzeroed(axes))]


def _joined(a: Sequence[_Known], b: Sequence[_Known]) -> list[_Known]:
  """What is known of arrays that are either of two."""
  joined: list[_Known] = []
  for x, y in zip(a, b, strict=True):
    if isinstance(x, _Unknown) or isinstance(y, _Unknown):
      joined.append(x if isinstance(x, _Unknown) else y)
      continue
    axes = map(_join_axes, zip(x.axes, y.axes, strict=True))
    joined.append(_Value(tuple(axes), x.unpadded or y.unpadded))
  return joined


def _repeat(
  body: Callable[[list[_Known]], list[_Known]],
  carry: Sequence[_Known],
  turns: int,
) -> list[_Known]:
  """What is known after a loop, whose carry is joined with that before."""
  known = list(carry)
  for _ in range(min(turns, _MOST_TURNS)):
    after = _joined(known, body(known))
    if after == known:
      return known
    known = after
  if turns > _MOST_TURNS:
    raise _UnknownError(" of more turns than are followed")
  return known


def _scan(equation: JaxprEqn, values: Sequence[_Value]) -> list[_Known]:
  params = equation.params
  constants, carried = params["num_consts"], params["num_carry"]
  fixed = list(values[:constants])
  carry = values[constants : constants + carried]
  stacked = values[constants + carried :]
  _refuse_pixels(value.axes[0] for value in stacked)
  rows = [dataclasses.replace(v, axes=v.axes[1:]) for v in stacked]
  body = params["jaxpr"].jaxpr
  length = params["length"]
  if not _fixed(length):
    raise _UnknownError(" over pixels")

  def turn(carry: list[_Known]) -> list[_Known]:
    return _follow(body, [*fixed, *carry, *rows])

  known = _repeat(lambda carry: turn(carry)[:carried], carry, length)
  first = _plain(length)
  outputs = known
  for value in turn(known)[carried:]:
    if isinstance(value, _Value):
      value = dataclasses.replace(value, axes=(first, *value.axes))
    outputs = [*outputs, value]
  return outputs


def _while(equation: JaxprEqn, values: Sequence[_Value]) -> list[_Known]:
  params = equation.params
  tests, fixed = params["cond_nconsts"], params["body_nconsts"]
  constants = values[tests : tests + fixed]
  body = params["body_jaxpr"].jaxpr
  known = _repeat(
    lambda carry: _follow(body, [*constants, *carry]),
    values[tests + fixed :],
    _MOST_TURNS + 1,
  )
  test = params["cond_jaxpr"].jaxpr
  (goes_on,) = _follow(test, [*values[:tests], *known])
  if isinstance(goes_on, _Unknown):
    raise _UnknownError(" until a test of pixels")
  return known


def _branch(equation: JaxprEqn, values: Sequence[_Value]) -> list[_Known]:
  branches = equation.params["branches"]
  outputs = [_follow(branch.jaxpr, values[1:]) for branch in branches]
  return functools.reduce(_joined, outputs)


_LOOPS: dict[str, Callable[[JaxprEqn, Sequence[_Value]], list[_Known]]] = {
  "scan": _scan,
  "while": _while,
  "cond": _branch,
}
_RULES: dict[str, Callable[[JaxprEqn, Sequence[_Value]], list[_Known]]] = {
  **dict.fromkeys(_ELEMENTWISE, _elementwise),
  **dict.fromkeys(
    [f"reduce_{kind}" for kind in ("sum", "max", "min", "prod", "and", "or")],
    _reduce,
  ),
  **dict.fromkeys(("argmax", "argmin"), _reduce),
  **dict.fromkeys(
    [f"cum{kind}" for kind in ("sum", "max", "min", "prod")],
    _along(lambda params: [params["axis"]]),
  ),
  **dict.fromkeys(
    [f"reduce_window_{kind}" for kind in ("sum", "max", "min")], _slide
  ),
  **_LOOPS,
  "rev": _along(lambda params: params["dimensions"]),
  "split": _along(lambda params: [params["axis"]]),
  "optimization_barrier": _same_as_inputs,
  "transpose": _transpose,
  "squeeze": _squeeze,
  "broadcast_in_dim": _broadcast,
  "reshape": _reshape,
  "slice": _slice,
  "concatenate": _concatenate,
  "pad": _pad,
  "conv_general_dilated": _convolve,
  "dot_general": _multiply,
}
