"""A network's memory, reach and pools, from traces of it.

Nothing is compiled or run.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import functools
from typing import Any

from flax import linen as nn
import jax
from jax import export
from jax import lax
from jax.extend.core import Jaxpr
from jax.extend.core import jaxprs_in_params
from jax.extend.core import Literal
import jax.numpy as jnp

from bamjax.inference import reach as reach_lib
from bamjax.inference import windows
from bamjax.inference.reach import Reach
from bamjax.layers import compile_for
from bamjax.layers import Pool
from bamjax.layers.coarse import Layer
from bamjax.layers.coarse import Spread

_SIDE = 32  # height and width of the image that memory is measured for
# Least height and width for which the reach is proven. Less is hardly ever
# needed, and some operations differ there, such as mirroring at the edge.
LEAST = 8


@dataclasses.dataclass(frozen=True)
class Footprint:
  """What limits the size of the tiles of a network.

  Attributes:
    bytes_per_pixel: approximate peak memory of the feature maps, in bytes per
      LR pixel; 0 if the network does not take the image that is traced.
    pools: number of times that it pools over the whole image.
    coarse: whether it has coarse maps, whose cells depend on where a window
      lies in its image.
  """

  bytes_per_pixel: float
  pools: int
  coarse: bool = False


@functools.lru_cache(maxsize=64)
def footprint(module: nn.Module) -> Footprint:
  """Returns the footprint of a network."""
  lr = jax.ShapeDtypeStruct((1, _SIDE, _SIDE, 3), jnp.float32)
  pools = []
  coarse = False

  def pool(layer: Pool, path: str, x: jax.Array) -> None:
    if windows.covers(lr.shape, x):
      pools.append(path)

  def call(_: Layer, run: Callable[..., Any], *args: jax.Array) -> Any:
    nonlocal coarse
    coarse = True
    return run(*args)

  try:
    variables = _variables(module)
    # For ONNX, all convolutions are one operation.
    with windows.intercepted(lambda x: x, pool, call), compile_for("onnx"):
      jaxpr = jax.make_jaxpr(module.apply)(variables, lr).jaxpr
  except Exception:  # it may take other sizes, or fail there, too
    return Footprint(0, 0)
  return Footprint(_peak(jaxpr) / _SIDE**2, len(pools), coarse)


@functools.lru_cache(maxsize=64)
def reach(module: nn.Module) -> Reach:
  """Returns how far a network sees."""
  least = [f"{name} >= {LEAST}" for name in "hw"]
  height, width = export.symbolic_shape("h, w", constraints=least)
  lr = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)

  def pool(layer: Pool, path: str, x: jax.Array) -> list[jax.Array]:
    start, shape = [0] * 4, (*x.shape[:1], 1, 1, *x.shape[3:])
    pooled = _named(reach_lib.POOLED, lambda x: lax.slice(x, start, shape))
    return [pooled(x) for _ in layer.kinds]

  coarse_convs = 0  # since the last coarse map was made
  named = _named(reach_lib.MASKED, lambda x: x)

  def masked(x: jax.Array) -> jax.Array:
    nonlocal coarse_convs
    coarse_convs += isinstance(x.shape[1], int)
    return named(x)

  def coarse(
    layer: Layer, _: Callable[..., Any], x: jax.Array, *others: jax.Array
  ) -> jax.Array:
    nonlocal coarse_convs
    grid = layer.grid
    if not isinstance(layer, Spread):
      # A cell that tiles share, like what was pooled.
      coarse_convs = 0
      least = (x.shape[0], grid.least, grid.least, x.shape[3])
      cell = _named(
        reach_lib.POOLED, lambda x: jnp.broadcast_to(x[:, :1, :1], least)
      )
      return cell(x)
    seen = grid.reach + coarse_convs * grid.step
    (like,) = others
    shape = (*like.shape[:3], x.shape[3])
    spread = _named(
      f"{reach_lib.SPREAD}{seen}",
      lambda like, x: jnp.broadcast_to(like[..., :1], shape),
    )
    return spread(like, x)

  try:
    variables = _variables(module)
    with (
      jax.disable_jit(False),  # or what is named would not be
      windows.intercepted(masked, pool, coarse),
      compile_for("onnx"),
    ):
      jaxpr = jax.make_jaxpr(module.apply)(variables, lr).jaxpr
    return reach_lib.reach(jaxpr, height, width, module.scale)
  except Exception as error:  # whatever the module, or JAX, raises
    line = str(error).strip().partition("\n")[0]
    return reach_lib.unknown(
      f"no trace for all sizes ({type(error).__name__}: {line})"
    )


def _variables(module: nn.Module) -> Any:
  lr = jax.ShapeDtypeStruct((1, _SIDE, _SIDE, 3), jnp.float32)
  return jax.eval_shape(module.init, jax.random.key(0), lr)


def _named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
  """A function as one operation of this name in a trace."""
  function.__name__ = name
  return jax.jit(function)


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
      if _is_feature_map(array.shape):
        live[variable] = array.size * array.dtype.itemsize
    peak = max(peak, sum(live.values()))
    live = {v: size for v, size in live.items() if last.get(v, -1) > i}
  return peak


def _is_feature_map(shape: Sequence[int]) -> bool:
  """Whether an array is N×H×W×…, with H and W multiples of the image's side."""
  return len(shape) >= 4 and not any(n % _SIDE for n in shape[1:3])
