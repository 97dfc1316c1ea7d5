"""A network's memory, reach and pools, from a trace on a small image.

Nothing is compiled or run.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

from flax import linen as nn
import jax
from jax.extend.core import Jaxpr
from jax.extend.core import jaxprs_in_params
from jax.extend.core import Literal
import jax.numpy as jnp

from bamjax.inference.reach import is_feature_map
from bamjax.inference.reach import reach
from bamjax.layers import compile_for
from bamjax.layers import Pool

_SIDE = 32  # height and width of the traced image


@dataclasses.dataclass(frozen=True)
class Footprint:
  """What limits the size of the tiles of a network.

  Attributes:
    bytes_per_pixel: approximate peak memory of the feature maps, in bytes per
      LR pixel.
    reach: LR pixels to each side that an output pixel depends on, other than
      through pools over the whole image.
    pools: number of layers that pool over the whole image.
  """

  bytes_per_pixel: float
  reach: int
  pools: int


@functools.lru_cache(maxsize=64)
def footprint(module: nn.Module) -> Footprint:
  """Returns the footprint of a backbone made of this library's layers."""
  lr = jax.ShapeDtypeStruct((1, _SIDE, _SIDE, 3), jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), lr)
  pools = set()

  def intercept(
    call: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    context: nn.module.InterceptorContext,
  ) -> Any:
    if isinstance(context.module, Pool):
      pools.add(context.module.path)
    return call(*args, **kwargs)

  # For ONNX, all convolutions are the operation that `reach` knows.
  with nn.intercept_methods(intercept), compile_for("onnx"):
    jaxpr = jax.make_jaxpr(module.apply)(variables, lr).jaxpr
  return Footprint(_peak(jaxpr) / _SIDE**2, reach(jaxpr, _SIDE), len(pools))


def _peak(jaxpr: Jaxpr) -> int:
  """Most bytes of feature maps that are in use at once.

  A map is in use from the operation that makes it to the last that reads it.
  """
  uses = [*(equation.invars for equation in jaxpr.eqns), jaxpr.outvars]
  last = {
    atom: i
    for i, atoms in enumerate(uses)
    for atom in atoms
    if not isinstance(atom, Literal)
  }
  live: dict[Any, int] = {}
  peak = 0
  for i, equation in enumerate(jaxpr.eqns):
    inner = map(_peak, jaxprs_in_params(equation.params))
    peak = max(peak, sum(live.values()) + max(inner, default=0))
    for variable in equation.outvars:
      array = variable.aval
      if not isinstance(array, jax.core.ShapedArray):
        continue
      if is_feature_map(array.shape, _SIDE):
        live[variable] = array.size * array.dtype.itemsize
    peak = max(peak, sum(live.values()))
    live = {v: size for v, size in live.items() if last.get(v, -1) > i}
  return peak
