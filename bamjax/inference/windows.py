"""The compiled programs of inference: a network on one window of an image.

A window may hold more than the image: what lies outside is hidden from every
convolution, which then sees the zeros that it would see at the image's edge.
And an attention that pools over the whole image can be told what the whole
image has. Both by intercepting calls of `Conv` and `Pool`, so that backbones
know nothing of it.
"""

from collections.abc import Iterable
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bamjax.layers import Conv
from bamjax.layers import Pool

# A part of a window: flags of its rows and of its columns.
Area = tuple[np.ndarray, np.ndarray]
# Of each `Pool`, by its path: the channels' "mean", "variance" and "max",
# N×1×1×C each.
Moments = dict[str, dict[str, jax.Array]]


@functools.partial(jax.jit, static_argnums=0)
def super_resolve(
  module: nn.Module,
  variables,
  lr: jax.Array,
  valid: Area | None = None,
  moments: Moments | None = None,
) -> jax.Array:
  """The network on a window.

  Args:
    module: a backbone.
    variables: its variables.
    lr: RGB in [0, 1], N×H×W×3.
    valid: the part of the window that is image; None is all of it. Outside,
      lr repeats the image's edge.
    moments: the whole image's; None takes those of the window.

  Returns:
    N×sH×sW×3 float32, not clipped.
  """
  return _apply(module, variables, lr, valid, moments)[0]


@functools.partial(jax.jit, static_argnums=0)
def gather(
  module: nn.Module,
  variables,
  lr: jax.Array,
  own: Area,
  valid: Area | None = None,
  moments: Moments | None = None,
) -> Moments:
  """What each `Pool` sees of the window's part `own`; the rest as above."""
  return _apply(module, variables, lr, valid, moments, own)[1]


def _apply(module, variables, lr, valid, moments, own=None):
  found = {}

  def hide(x):
    mask = None if valid is None else _mask(valid, x)
    return x if mask is None else jnp.where(mask, x, 0)

  def intercept(call, args, kwargs, context):
    layer = context.module
    if context.method_name != "__call__":
      return call(*args, **kwargs)
    if isinstance(layer, Conv) and layer.kernel_size > 1:
      x, *others = args
      return call(jax.tree.map(hide, x), *others, **kwargs)
    if not isinstance(layer, Pool):
      return call(*args, **kwargs)
    (x,) = args
    path = "/".join(layer.path)
    if own is not None:
      found[path] = _moments(x, _mask(own, x))
    if moments is not None:
      return _pooled(layer, moments[path], x.dtype)
    if valid is not None:
      return _pooled(layer, _moments(x, _mask(valid, x)), x.dtype)
    return call(x)

  # TF32 would move the printed digits of a benchmark.
  with (
    jax.default_matmul_precision("highest"),
    nn.intercept_methods(intercept),
  ):
    return module.apply(variables, lr), found


def _mask(area: Area, x: jax.Array) -> jax.Array | None:
  """An area of the window, 1×H×W×1, in the resolution of features x.

  None where x is no map of the window, as what an attention has pooled.
  """
  rows, columns = area
  factor = x.shape[1] // rows.size
  if not factor or x.shape[1:3] != (factor * rows.size, factor * columns.size):
    return None
  rows, columns = (jnp.repeat(flags, factor) for flags in (rows, columns))
  return (rows[:, None] & columns)[None, :, :, None]


def _moments(x: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
  """Mean, variance and maximum of each channel where the mask is set."""
  count = jnp.sum(mask)
  low = jnp.where(mask, x, -jnp.inf)
  x = x.astype(jnp.float32)

  def mean(values):
    total = jnp.sum(jnp.where(mask, values, 0), axis=(1, 2), keepdims=True)
    return total / count

  center = mean(x)
  return {
    "mean": center,
    "variance": mean((x - center) ** 2),
    "max": jnp.max(low, axis=(1, 2), keepdims=True).astype(jnp.float32),
  }


def _pooled(layer: Pool, moments: dict[str, jax.Array], dtype):
  """What the layer returns where its input has these moments."""
  values = {**moments, "deviation": jnp.sqrt(moments["variance"])}
  return [values[kind].astype(dtype) for kind in layer.kinds]


def combine(parts: Iterable[tuple[int, Moments]]) -> Moments:
  """Moments of an image by those of its parts, each with its size in pixels.

  Exact but for rounding, in float64 (Chan et al. 1983, eq. 2.1).
  """
  sizes, moments = zip(*parts, strict=True)
  weights = np.divide(sizes, sum(sizes))[:, None, None, None, None]
  combined = {}
  for path in moments[0]:
    mean, variance, top = (
      np.stack([np.asarray(part[path][kind], np.float64) for part in moments])
      for kind in ("mean", "variance", "max")
    )
    center = (weights * mean).sum(0)
    spread = (weights * (variance + (mean - center) ** 2)).sum(0)
    combined[path] = {
      "mean": center.astype(np.float32),
      "variance": spread.astype(np.float32),
      "max": top.max(0).astype(np.float32),
    }
  return combined
