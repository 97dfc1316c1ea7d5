"""How many pixels away a network's output depends on its input.

The reach is the support of an output pixel's gradient, but is read off the
trace of the network, which its memory needs anyway: 1 to 42 ms. Computing the
gradient takes 0.9 s for EDSR-baseline, 2.4 s for PAN, 6 s for DRLN and 9 s for
RCAN (×2, BAM, a row of 66 pixels), at each start, and loses the outermost
pixels where values underflow. The tests hold the two equal.
"""

from collections.abc import Sequence
import math

from jax.extend.core import Jaxpr
from jax.extend.core import JaxprEqn
from jax.extend.core import jaxprs_in_params
from jax.extend.core import Literal
from jax.extend.core import Var


def reach(jaxpr: Jaxpr, side: int) -> int:
  """LR pixels to each side that an output pixel depends on.

  What is pooled over the whole image does not count.

  Args:
    jaxpr: a network that was traced for "onnx", in which all convolutions are
      one operation, with one output.
    side: height and width of the LR image that it was traced with.
  """
  (pixels,) = _outputs(jaxpr, [0] * len(jaxpr.invars), side)
  return math.ceil(pixels)


def _outputs(jaxpr: Jaxpr, inputs: Sequence[float], side: int) -> list[float]:
  """Reach of each output of a program, from the reach of its inputs."""
  known = dict(zip(jaxpr.invars, inputs, strict=True))

  def reach_of(atom: Var | Literal) -> float:
    return 0 if isinstance(atom, Literal) else known.get(atom, 0)

  for equation in jaxpr.eqns:
    reaches = [reach_of(atom) for atom in equation.invars]
    inner = list(jaxprs_in_params(equation.params))
    if inner and len(inner[0].invars) == len(reaches):
      outputs = _outputs(inner[0], reaches, side)
    else:
      after = _after(equation, max(reaches, default=0), side)
      outputs = [after] * len(equation.outvars)
    known.update(zip(equation.outvars, outputs, strict=True))
  return [reach_of(atom) for atom in jaxpr.outvars]


def _after(equation: JaxprEqn, before: float, side: int) -> float:
  """Reach after one operation, from the largest reach of its inputs."""
  shape, *others = [getattr(atom.aval, "shape", ()) for atom in equation.invars]
  if not shape:
    return before
  parameters = equation.params
  match equation.primitive.name:
    case "reduce_sum" | "reduce_max" if set(parameters["axes"]) >= {1, 2}:
      return 0  # pooled
    case "conv_general_dilated" if is_feature_map(shape, side):
      size_axis = parameters["dimension_numbers"].rhs_spec[2]
      size = others[0][size_axis]
      wide = parameters["rhs_dilation"][0] * (size // 2)
      return before + wide * side / shape[1]
    case "concatenate" if parameters["dimension"] in (1, 2):
      return before + 1  # a shift by one, of `upsample_bilinear`
  return before


def is_feature_map(shape: Sequence[int], side: int) -> bool:
  """Whether an array is N×H×W×…, with H and W multiples of the image's side."""
  return len(shape) >= 4 and not any(n % side for n in shape[1:3])
