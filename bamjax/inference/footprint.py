"""What a backbone's program tells of itself: its memory, its reach, its pools.

All by its trace on a small image; nothing is compiled or run.
"""

import dataclasses
import functools
import math

from flax import linen as nn
import jax
from jax.extend.core import jaxprs_in_params
from jax.extend.core import Literal
import jax.numpy as jnp

from bamjax.layers import compile_for
from bamjax.layers import Pool

_SIDE = 32  # of the image that is traced


@dataclasses.dataclass(frozen=True)
class Footprint:
  """What a pass of a network takes.

  Attributes:
    bytes_per_pixel: peak memory for each LR pixel, roughly: of the feature
      maps that are still to be used, operation by operation.
    reach: LR pixels to each side that an output pixel depends on, but for what
      attentions pool over the whole image.
    pools: layers that pool over the whole image.
  """

  bytes_per_pixel: float
  reach: int
  pools: int


@functools.lru_cache(maxsize=64)
def footprint(module: nn.Module) -> Footprint:
  """The footprint of a backbone made of this library's layers."""
  lr = jax.ShapeDtypeStruct((1, _SIDE, _SIDE, 3), jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), lr)
  pools = set()

  def intercept(call, args, kwargs, context):
    if isinstance(context.module, Pool):
      pools.add(context.module.path)
    return call(*args, **kwargs)

  # As other platforms than the CPU convolve: all convs by the one operation
  # that `_reach` knows.
  with nn.intercept_methods(intercept), compile_for("onnx"):
    jaxpr = jax.make_jaxpr(module.apply)(variables, lr).jaxpr
  (reach,) = _reaches(jaxpr, [0] * len(jaxpr.invars))
  return Footprint(_peak(jaxpr) / _SIDE**2, math.ceil(reach), len(pools))


def _is_map(array) -> bool:
  """Whether an array is …×(k·side)×(k·side)×…: features, not weights."""
  return array.ndim >= 4 and not any(n % _SIDE for n in array.shape[1:3])


def _peak(jaxpr) -> int:
  """Most bytes of feature maps at once, of those that the program makes."""
  uses = [*(equation.invars for equation in jaxpr.eqns), jaxpr.outvars]
  last = {
    atom: i
    for i, atoms in enumerate(uses)
    for atom in atoms
    if not isinstance(atom, Literal)
  }
  live, peak = {}, 0
  for i, equation in enumerate(jaxpr.eqns):
    inner = map(_peak, jaxprs_in_params(equation.params))
    peak = max(peak, sum(live.values()) + max(inner, default=0))
    for variable in equation.outvars:
      array = variable.aval
      if _is_map(array):
        live[variable] = array.size * array.dtype.itemsize
    peak = max(peak, sum(live.values()))
    live = {v: size for v, size in live.items() if last.get(v, -1) > i}
  return peak


def _reaches(jaxpr, inputs: list[float]) -> list[float]:
  """Reach of a program's outputs in LR pixels, by that of its inputs."""
  known = dict(zip(jaxpr.invars, inputs, strict=True))

  def of(atom):
    return 0 if isinstance(atom, Literal) else known.get(atom, 0)

  for equation in jaxpr.eqns:
    reaches = [of(atom) for atom in equation.invars]
    inner = list(jaxprs_in_params(equation.params))
    if inner and len(inner[0].invars) == len(reaches):
      outputs = _reaches(inner[0], reaches)
    else:
      outputs = [_reach(equation, max(reaches, default=0))] * len(
        equation.outvars
      )
    known.update(zip(equation.outvars, outputs, strict=True))
  return [of(atom) for atom in jaxpr.outvars]


def _reach(equation, reach: float) -> float:
  """Reach of what one operation puts out, by that of its inputs."""
  array = equation.invars[0].aval if equation.invars else None
  parameters = equation.params
  if not getattr(array, "ndim", 0):
    return reach
  match equation.primitive.name:
    case "reduce_sum" | "reduce_max" if set(parameters["axes"]) >= {1, 2}:
      return 0  # pooled
    case "conv_general_dilated" if _is_map(array):
      taps = equation.invars[1].aval.shape[
        parameters["dimension_numbers"].rhs_spec[2]
      ]
      wide = parameters["rhs_dilation"][0] * (taps // 2)
      return reach + wide * _SIDE / array.shape[1]
    case "concatenate" if parameters["dimension"] in (1, 2):
      # A shift by one, of `upsample_bilinear`.
      return reach + 1
  return reach
