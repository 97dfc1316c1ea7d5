"""What operations do to rows and columns of pixels; see `reach`."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
from typing import Any

from jax.extend.core import JaxprEqn
from jax.extend.core import Literal
from jax.extend.core import Var

from bamjax.inference.grids import Axis
from bamjax.inference.grids import Edge
from bamjax.inference.grids import Grid
from bamjax.inference.grids import has_pixels
from bamjax.inference.grids import is_fixed
from bamjax.inference.grids import join_axes
from bamjax.inference.grids import Known
from bamjax.inference.grids import length
from bamjax.inference.grids import outside_of
from bamjax.inference.grids import Part
from bamjax.inference.grids import Plain
from bamjax.inference.grids import plain_axis
from bamjax.inference.grids import refuse_pixels
from bamjax.inference.grids import Same
from bamjax.inference.grids import Size
from bamjax.inference.grids import UnknownError
from bamjax.inference.grids import unzeroed
from bamjax.inference.grids import Value
from bamjax.inference.grids import with_outside

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


def shape_of(atom: Var | Literal) -> tuple[Size, ...]:
  """The shape of an array in a trace."""
  return getattr(atom.aval, "shape", ())


def constant(atom: Var | Literal) -> Value:
  """An array that does not depend on the image."""
  return Value(tuple(map(plain_axis, shape_of(atom))))


def unpadded_in(values: Iterable[Value]) -> str:
  """The first operation that padding changes, in any of several arrays."""
  return next((v.unpadded for v in values if v.unpadded), "")


def _output(
  equation: JaxprEqn,
  values: Sequence[Value],
  axes: Iterable[Axis],
  unpadded: str = "",
) -> Value:
  """The output of an operation.

  Args:
    equation: the operation.
    values: its inputs.
    axes: the output's axes.
    unpadded: what padding changes in this operation.
  """
  if any(outside_of(part) == "cut" for value in values for part in value.parts):
    unpadded = equation.primitive.name
  return Value(tuple(axes), unpadded_in(values) or unpadded)


def _elementwise(equation: JaxprEqn, values: Sequence[Value]) -> list[Known]:
  arrays = [value for value in values if value.axes]
  several = zip(*(value.axes for value in arrays), strict=True)
  axes = [*map(join_axes, several)]
  for axis, size in zip(axes, shape_of(equation.outvars[0]), strict=True):
    if length(axis) != size:  # one row or column, repeated
      raise UnknownError(" of values in different places")
  if equation.primitive.name not in _KEEP_ZERO:
    axes = unzeroed(axes)
  return [_output(equation, values, axes)]


def _same_as_inputs(equation: JaxprEqn, values: Sequence[Value]) -> list[Known]:
  return list(values)


def _reduce(equation: JaxprEqn, values: Sequence[Value]) -> list[Known]:
  (value,) = values
  gone = equation.params["axes"]
  refuse_pixels(value.axes[i] for i in gone)
  axes = [axis for i, axis in enumerate(value.axes) if i not in gone]
  return [_output(equation, values, unzeroed(axes))]


def _along(
  axes_of: Callable[[Any], Sequence[int]],
) -> Callable[[JaxprEqn, Sequence[Value]], list[Known]]:
  """Returns the rule of operations that mix values along some axes."""

  def rule(equation: JaxprEqn, values: Sequence[Value]) -> list[Known]:
    (value,) = values
    axes = list(value.axes)
    mixed = axes_of(equation.params)
    outputs = []
    for atom in equation.outvars:
      for i in mixed:
        axes[i] = _mixed(value.axes[i], shape_of(atom)[i])
      outputs.append(_output(equation, values, axes))
    return list(outputs)

  return rule


def _mixed(axis: Axis, size: int) -> Axis:
  if len(axis) == 1 and isinstance(axis[0], Edge) and axis[0].size == size:
    return axis  # few values, all at the same edge
  refuse_pixels([axis])
  return plain_axis(size)


def _transpose(equation: JaxprEqn, values: Sequence[Value]) -> list[Known]:
  (value,) = values
  axes = (value.axes[i] for i in equation.params["permutation"])
  return [_output(equation, values, axes)]


def _squeeze(equation: JaxprEqn, values: Sequence[Value]) -> list[Known]:
  (value,) = values
  gone = equation.params["dimensions"]
  refuse_pixels((value.axes[i] for i in gone), " of one row or column")
  axes = [axis for i, axis in enumerate(value.axes) if i not in gone]
  return [_output(equation, values, axes)]


def _broadcast(equation: JaxprEqn, values: Sequence[Value]) -> list[Known]:
  value = values[0]
  shape = shape_of(equation.outvars[0])
  axes: list[Axis] = [(Same(n),) if n != 1 else () for n in shape]
  places = equation.params["broadcast_dimensions"]
  for axis, place in zip(value.axes, places, strict=True):
    match axis:
      case ():
        continue  # repeated
      case (Edge() as part,) if part.size == 1 and is_fixed(shape[place]):
        axis = (dataclasses.replace(part, size=shape[place]),)
      case (Edge(),) if axis[0].size != shape[place]:
        raise UnknownError(" of one row or column")
    axes[place] = axis
  return [_output(equation, values, axes)]


def _reshape(equation: JaxprEqn, values: Sequence[Value]) -> list[Known]:
  value = values[0]
  parts = value.parts[::-1]  # the next is the last
  axes = [_gathered(parts, n) for n in equation.params["new_sizes"]]
  if parts:
    raise UnknownError
  return [_output(equation, values, axes)]


def _gathered(parts: list[Part], size: Size) -> Axis:
  """Takes parts from the end of a list that make up an axis of a size."""
  axis: list[Part] = []
  found: Size = 1
  while not found == size:
    if not parts:
      raise UnknownError
    part = parts.pop()
    n = part.size
    if type(part) in (Plain, Same) and is_fixed(n) and n > 0:
      # The axis may need a factor only; the rest is for the next.
      factor = next(
        (k for k in range(1, n) if n % k == 0 and found * k == size), n
      )
      if factor < n:
        parts.append(dataclasses.replace(part, size=n // factor))
        part = dataclasses.replace(part, size=factor)
    axis.append(part)
    found = found * part.size
  merged: list[Part] = []
  for part in axis:
    merged = _appended(merged, part)
  return tuple(merged)


def _appended(axis: list[Part], part: Part) -> list[Part]:
  """Adds a part to an axis, and merges it with the last if that is possible."""
  if not axis:
    return [part]
  *before, last = axis
  size = last.size * part.size
  if isinstance(last, Same) and isinstance(part, Same):
    return [*before, Same(size)]
  plain = type(part) in (Plain, Same) and is_fixed(part.size)
  n = part.size
  if plain and isinstance(last, Grid):
    ends = n * last.low, n * last.high
    return [*before, Grid(size, last.name, n * last.fine, *ends, last.outside)]
  if plain and isinstance(last, Edge):
    depth = n * last.depth
    return [*before, Edge(size, last.name, last.end, depth, last.outside)]
  if plain and is_fixed(last.size):
    return [*before, Plain(size)]
  if isinstance(last, Same) or isinstance(part, Same):
    raise UnknownError
  return [*axis, part]


def _slice(equation: JaxprEqn, values: Sequence[Value]) -> list[Known]:
  (value,) = values
  params = equation.params
  axes, unpadded = [], ""
  for axis, start, stop, stride, size in zip(
    value.axes,
    params["start_indices"],
    params["limit_indices"],
    params["strides"] or [1] * len(value.axes),
    shape_of(equation.outvars[0]),
    strict=True,
  ):
    whole = length(axis)
    if start == 0 and stop == whole and stride == 1:
      axes.append(axis)
    elif not has_pixels(axis):
      axes.append(plain_axis(size))
    elif stride != 1 or len(axis) > 1:
      raise UnknownError(" of some pixels")
    else:
      part = _cut(axis[0], start, whole - stop, size)
      axes.append((part,))
      if outside_of(part) == "any":
        unpadded = "slice"
  return [_output(equation, values, axes, unpadded)]


def _cut(part: Part, start: Size, rest: Size, size: Size) -> Part:
  """A part of rows or columns.

  Args:
    part: the rows or columns.
    start: how many are left out at the start.
    rest: how many are left out at the end.
    size: how many are left.
  """
  if isinstance(part, Same):
    return Same(size)
  if isinstance(part, Grid):
    outside = "cut" if part.outside == "edge" else "any"
    if is_fixed(size):
      if is_fixed(start):
        return Edge(size, part.name, False, start + size, outside)
      if is_fixed(rest):
        return Edge(size, part.name, True, rest + size, outside)
    elif is_fixed(start) and is_fixed(rest):
      ends = max(part.low - start, 0), max(part.high - rest, 0)
      return Grid(size, part.name, part.fine, *ends, outside)
  raise UnknownError(" of some pixels")


def _concatenate(equation: JaxprEqn, values: Sequence[Value]) -> list[Known]:
  place = equation.params["dimension"]
  size = shape_of(equation.outvars[0])[place]
  along = [value.axes[place] for value in values]
  axes = [
    join_axes(several) if i != place else ()
    for i, several in enumerate(zip(*(v.axes for v in values), strict=True))
  ]
  if not any(map(has_pixels, along)):
    axes[place] = plain_axis(size)
    if any(unzeroed(value.axes) == list(value.axes) for value in values):
      axes = unzeroed(axes)  # not 0 everywhere outside
    return [_output(equation, values, axes)]
  parts = [axis[0] if axis else Plain(1) for axis in along]
  grids = [i for i, part in enumerate(parts) if isinstance(part, Grid)]
  if len(grids) != 1 or any(len(axis) > 1 for axis in along):
    raise UnknownError(" of pixels")
  before, (grid, *after) = parts[: grids[0]], parts[grids[0] :]
  assert isinstance(grid, Grid)
  low = _beside(grid, before, end=False)
  high = _beside(grid, after, end=True)
  axes[place] = (
    Grid(size, grid.name, grid.fine, grid.low + low, grid.high + high, "any"),
  )
  # What repeats the edge of an image does so in a window that is larger.
  repeats = grid.outside in ("edge", "cut") and all(
    isinstance(part, Edge) and part.depth == 1 and part.outside == "cut"
    for part in (*before, *after)
  )
  unpadded = unpadded_in(values) or ("" if repeats else "concatenate of pixels")
  return [Value(tuple(unzeroed(axes)), unpadded)]


def _beside(grid: Grid, parts: Sequence[Part], end: bool) -> int:
  """How many values are added to an end of rows or columns.

  They may be constant, the image's edge, or what is mirrored there.
  """
  count = sum(part.size for part in parts)
  if not is_fixed(count):
    raise UnknownError(" of pixels")
  for part in parts:
    edge = isinstance(part, Edge) and (part.name, part.end, part.depth)
    if edge and (edge[:2] != (grid.name, end) or edge[2] > count + 1):
      raise UnknownError(" of pixels")
  return count


def _pad(equation: JaxprEqn, values: Sequence[Value]) -> list[Known]:
  value, filler = values
  axes, unpadded = [], ""
  for axis, (low, high, inner), size in zip(
    value.axes,
    equation.params["padding_config"],
    shape_of(equation.outvars[0]),
    strict=True,
  ):
    if (low, high, inner) == (0, 0, 0):
      axes.append(axis)
    elif not has_pixels(axis):
      axes.append(plain_axis(size))
    else:
      axes.append((_slid(axis, (low, high), size, inner + 1),))
      unpadded = "pad"
  return [_output(equation, values, unzeroed(axes), unpadded)]


def _slid(
  axis: Axis, padding: Sequence[Size], size: Size, dilation: int = 1
) -> Grid:
  """Rows or columns after a sliding window.

  Args:
    axis: the rows or columns.
    padding: values added at the start and the end.
    size: how many rows or columns result.
    dilation: distance of the rows or columns after zeros were inserted.
  """
  low, high = padding
  numbers = is_fixed(low) and is_fixed(high)
  if len(axis) != 1 or not isinstance(axis[0], Grid) or not numbers:
    raise UnknownError(" over pixels")
  grid = axis[0]
  if dilation > 1 and size != dilation * grid.size:
    raise UnknownError(" over pixels")
  return Grid(
    size,
    grid.name,
    dilation * grid.fine,
    max(dilation * grid.low + low, 0),
    max(dilation * grid.high + high - dilation + 1, 0),
    "any",
  )


def _convolve(equation: JaxprEqn, values: Sequence[Value]) -> list[Known]:
  x, kernel = values
  params = equation.params
  numbers = params["dimension_numbers"]
  batch, depth, *spatial = numbers.lhs_spec
  if kernel.varies or params["batch_group_count"] != 1:
    raise UnknownError
  refuse_pixels([x.axes[depth]])
  shape = shape_of(equation.outvars[0])
  axes: list[Axis] = [*map(plain_axis, shape)]
  axes[numbers.out_spec[0]] = x.axes[batch]
  unpadded = ""
  for i, (source, target) in enumerate(
    zip(spatial, numbers.out_spec[2:], strict=True)
  ):
    axis = x.axes[source]
    if not has_pixels(axis):
      continue
    if params["window_strides"][i] != 1:
      raise UnknownError(" with a stride")
    dilation = params["lhs_dilation"][i]
    axes[target] = (_slid(axis, params["padding"][i], shape[target], dilation),)
    size = shape_of(equation.invars[1])[numbers.rhs_spec[2 + i]]
    if outside_of(axis[0]) != "zero" and (size, dilation) != (1, 1):
      unpadded = "a convolution other than bamjax.layers.Conv"
  return [_output(equation, values, with_outside("any", axes), unpadded)]


def _slide(equation: JaxprEqn, values: Sequence[Value]) -> list[Known]:
  """A pool in a sliding window."""
  value, *others = values
  params = equation.params
  if any(other.varies for other in others):
    raise UnknownError
  axes = []
  for i, (axis, size) in enumerate(
    zip(value.axes, shape_of(equation.outvars[0]), strict=True)
  ):
    steps = [params[f"{kind}"] for kind in ("window_strides", "base_dilation")]
    padding = tuple(params["padding"][i])
    if params["window_dimensions"][i] == 1 and padding == (0, 0):
      axes.append(axis)
    elif not has_pixels(axis):
      axes.append(plain_axis(size))
    else:
      axes.append((_slid(axis, padding, size),))
    if has_pixels(axis) and [step[i] for step in steps if step] != [1, 1]:
      raise UnknownError(" with a stride")
  name = equation.primitive.name
  return [_output(equation, values, with_outside("any", axes), name)]


def _multiply(equation: JaxprEqn, values: Sequence[Value]) -> list[Known]:
  """A matrix product."""
  summed, batch = equation.params["dimension_numbers"]
  for value, places in zip(values, summed, strict=True):
    refuse_pixels(value.axes[i] for i in places)
  pairs = zip(*batch, strict=True)
  axes = [join_axes([values[0].axes[i], values[1].axes[k]]) for i, k in pairs]
  for value, *used in zip(values, summed, batch, strict=True):
    axes += [
      axis for i, axis in enumerate(value.axes) if i not in (*used[0], *used[1])
    ]
  return [_output(equation, values, unzeroed(axes))]


RULES: dict[str, Callable[[JaxprEqn, Sequence[Value]], list[Known]]] = {
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
