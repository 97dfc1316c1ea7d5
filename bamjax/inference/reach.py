"""How far a network sees, proven from its trace, for tiles and for padding.

The trace has symbolic height and width, and is followed operation by operation.
What mixes pixels in a way that is not understood here, depends on a pixel's
place in the image, or on the image's size, makes the result unknown: a tile
would differ from the whole image there.

The reach of what is understood is the support of an output pixel's gradient.
The tests hold the two equal.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools
import math

from jax.extend.core import Jaxpr
from jax.extend.core import JaxprEqn
from jax.extend.core import jaxprs_in_params
from jax.extend.core import Literal
from jax.extend.core import Var

from bamjax.inference.grids import covers
from bamjax.inference.grids import Edge
from bamjax.inference.grids import Grid
from bamjax.inference.grids import is_fixed
from bamjax.inference.grids import join_axes
from bamjax.inference.grids import Known
from bamjax.inference.grids import Plain
from bamjax.inference.grids import plain_axis
from bamjax.inference.grids import refuse_pixels
from bamjax.inference.grids import Size
from bamjax.inference.grids import Unknown
from bamjax.inference.grids import UnknownError
from bamjax.inference.grids import Value
from bamjax.inference.grids import with_outside
from bamjax.inference.operations import constant
from bamjax.inference.operations import RULES
from bamjax.inference.operations import shape_of
from bamjax.inference.operations import unpadded_in

# Names of the jitted functions that mark, in a trace, what `windows` replaces.
MASKED = "bamjax_masked"
POOLED = "bamjax_pooled"
# Followed by the pixels that the cells of a coarse map see to each side.
SPREAD = "bamjax_spread_"

_CALLS = (
  "jit pjit closed_call core_call checkpoint remat remat2 custom_jvp_call"
  " custom_vjp_call custom_vjp_call_jaxpr"
).split()
_MOST_TURNS = 100  # of a loop that is followed


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


def reach(jaxpr: Jaxpr, height: Size, width: Size, scale: int) -> Reach:
  """Returns how far a network sees.

  Args:
    jaxpr: a network that was traced for "onnx", in which all convolutions are
      one operation; its last input is the image, N×H×W×3.
    height: symbolic height of that image.
    width: its width.
    scale: how many times as high and wide the output is.
  """
  image = Value(
    ((), (Grid(height, height),), (Grid(width, width),), (Plain(3),))
  )
  inputs = [*map(constant, jaxpr.invars[:-1]), image]
  output, *others = _follow(jaxpr, inputs, nested=False)
  if isinstance(output, Unknown):
    return unknown(output.operation)
  pixels = 0
  for name, place in ((height, 1), (width, 2)):
    axis = output.axes[place] if len(output.axes) == 4 else ()
    if others or len(axis) != 1 or axis[0].size != scale * name:
      return unknown(f"an output of other than {scale} times the size")
    if isinstance(axis[0], Grid):
      ends = max(axis[0].low, axis[0].high)
      pixels = max(pixels, math.ceil(ends / axis[0].fine))
  return Reach(pixels, unpadded=output.unpadded)


def unknown(operation: str) -> Reach:
  """Returns the reach of a network with an operation that is not understood."""
  return Reach(untiled=operation, unpadded=operation)


def _follow(
  jaxpr: Jaxpr, inputs: Sequence[Known], nested: bool = True
) -> list[Known]:
  """What is known of the outputs of a program, from its inputs."""
  known = dict(zip(jaxpr.invars, inputs, strict=True))

  def read(atom: Var | Literal) -> Known:
    if isinstance(atom, Literal):
      return constant(atom)
    # Constants of a traced program have known sizes.
    return known[atom] if atom in known else constant(atom)

  for equation in jaxpr.eqns:
    values = [read(atom) for atom in equation.invars]
    outputs = _after(equation, values, nested)
    known.update(zip(equation.outvars, outputs, strict=True))
  return [read(atom) for atom in jaxpr.outvars]


def _after(
  equation: JaxprEqn, inputs: Sequence[Known], nested: bool
) -> list[Known]:
  """What is known of the outputs of an operation."""
  count = len(equation.outvars)
  if not count:  # what a transformation left of one
    return []
  values = [v for v in inputs if isinstance(v, Value)]
  if len(values) < len(inputs):
    return [v for v in inputs if v not in values][:1] * count
  name = equation.primitive.name
  called = equation.params.get("name") if name in _CALLS else None
  if called == POOLED and nested:
    # The pools of one run of a loop's body would stand for those of all.
    return [Unknown("Pool in a loop or a transformed function")] * count
  follow = _LOOPS.get(name) or RULES.get(name)
  outputs: Sequence[Known]
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
        raise UnknownError
      outputs = _follow(inner, values)
    elif follow is None or (name not in _LOOPS and not _vary(equation, values)):
      outputs = _elsewhere(equation, values)
    else:
      outputs = follow(equation, values)
  except UnknownError as error:
    return [Unknown(f"{name}{error}")] * count
  return [_checked(name, value, called) for value in outputs]


def _checked(name: str, value: Known, called: str | None) -> Known:
  """Names the function that an operation is in, and refuses outer products."""
  if isinstance(value, Unknown):
    if not called or "(" in value.operation or called.startswith("_where"):
      return value
    return Unknown(f"{called.strip('_')} ({value.operation})")
  grids = [p.name for p in value.parts if isinstance(p, Grid | Edge)]
  if len(grids) != len(set(map(str, grids))):
    return Unknown(f"{name} of all pairs of pixels")
  return value


def _vary(equation: JaxprEqn, values: Sequence[Value]) -> bool:
  """Whether an operation has to do with the image's pixels or size."""
  return any(value.varies for value in values) or not all(
    is_fixed(n) for atom in equation.outvars for n in shape_of(atom)
  )


def _masked(value: Value) -> Value:
  """After `windows` has set what is outside the image to 0."""
  if not covers(value):
    return value
  return dataclasses.replace(
    value, axes=tuple(with_outside("zero", value.axes))
  )


def _pooled(value: Value, equation: JaxprEqn) -> list[Value]:
  if value.varies and not covers(value):
    raise UnknownError(" of a part of the image")
  return [
    dataclasses.replace(constant(atom), unpadded=value.unpadded)
    for atom in equation.outvars
  ]


def _spread(
  equation: JaxprEqn, values: Sequence[Value], pixels: int
) -> list[Value]:
  """A coarse map that is enlarged to the pixels that it was made of."""
  fine, _ = values
  if not covers(fine):
    raise UnknownError(" of a part of the image")
  axes = list(constant(equation.outvars[0]).axes)
  for i in (1, 2):
    (grid,) = fine.axes[i]
    assert isinstance(grid, Grid)  # it covers the image
    low, high = (end + pixels * grid.fine for end in (grid.low, grid.high))
    grid = dataclasses.replace(grid, low=low, high=high, outside="any")
    axes[i] = (grid,)
  axes[0] = fine.axes[0]
  return [Value(tuple(axes), unpadded_in(values))]


def _elsewhere(equation: JaxprEqn, values: Sequence[Value]) -> Sequence[Known]:
  """An operation on weights or pooled values, which all tiles share."""
  if _vary(equation, values) or equation.primitive.name == "dim_as_value":
    raise UnknownError
  unpadded = unpadded_in(values)
  return [
    dataclasses.replace(constant(atom), unpadded=unpadded)
    for atom in equation.outvars
  ]


def _joined(a: Sequence[Known], b: Sequence[Known]) -> list[Known]:
  """What is known of arrays that are either of two."""
  joined: list[Known] = []
  for x, y in zip(a, b, strict=True):
    if isinstance(x, Unknown) or isinstance(y, Unknown):
      joined.append(x if isinstance(x, Unknown) else y)
      continue
    axes = map(join_axes, zip(x.axes, y.axes, strict=True))
    joined.append(Value(tuple(axes), x.unpadded or y.unpadded))
  return joined


def _repeat(
  body: Callable[[list[Known]], list[Known]],
  carry: Sequence[Known],
  turns: int,
) -> list[Known]:
  """What is known after a loop, whose carry is joined with that before."""
  known = list(carry)
  for _ in range(min(turns, _MOST_TURNS)):
    after = _joined(known, body(known))
    if after == known:
      return known
    known = after
  if turns > _MOST_TURNS:
    raise UnknownError(" of more turns than are followed")
  return known


def _scan(equation: JaxprEqn, values: Sequence[Value]) -> list[Known]:
  params = equation.params
  constants, carried = params["num_consts"], params["num_carry"]
  fixed = list(values[:constants])
  carry = values[constants : constants + carried]
  stacked = values[constants + carried :]
  refuse_pixels(value.axes[0] for value in stacked)
  rows = [dataclasses.replace(v, axes=v.axes[1:]) for v in stacked]
  body = params["jaxpr"].jaxpr
  length = params["length"]
  if not is_fixed(length):
    raise UnknownError(" over pixels")

  def turn(carry: list[Known]) -> list[Known]:
    return _follow(body, [*fixed, *carry, *rows])

  known = _repeat(lambda carry: turn(carry)[:carried], carry, length)
  first = plain_axis(length)
  outputs = known
  for value in turn(known)[carried:]:
    if isinstance(value, Value):
      value = dataclasses.replace(value, axes=(first, *value.axes))
    outputs = [*outputs, value]
  return outputs


def _while(equation: JaxprEqn, values: Sequence[Value]) -> list[Known]:
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
  if isinstance(goes_on, Unknown):
    raise UnknownError(" until a test of pixels")
  return known


def _branch(equation: JaxprEqn, values: Sequence[Value]) -> list[Known]:
  branches = equation.params["branches"]
  outputs = [_follow(branch.jaxpr, values[1:]) for branch in branches]
  return functools.reduce(_joined, outputs)


_LOOPS: dict[str, Callable[[JaxprEqn, Sequence[Value]], list[Known]]] = {
  "scan": _scan,
  "while": _while,
  "cond": _branch,
}
