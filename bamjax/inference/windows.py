"""The programs of inference: a network on one window of an image.

A window may extend beyond the image. Padding is masked out before every
convolution and pool, and does not affect the result: convolutions see zeros, as
at the image's edge. For tiles, the pools of attentions can be replaced by those
of the whole image, and coarse maps have their cells where the whole image has
them. All of it intercepts `Conv`, `Pool` and the layers of
`bamjax.layers.coarse`, so backbones need no code for it.
"""

import collections
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bamjax.layers import Conv
from bamjax.layers import Pool
from bamjax.layers.coarse import Grid
from bamjax.layers.coarse import Layer
from bamjax.layers.coarse import Place
from bamjax.layers.pooling import unbiased

# A rectangle of a window: masks of its rows, (H,), and of its columns, (W,).
Area = tuple[np.ndarray, np.ndarray]
# By the path of each call of a `Pool`: "mean", "variance" and "max" of the
# channels, float32, N×1×1×C each, and "count", the pixels, 1×1×1×1.
Moments = Mapping[str, Mapping[str, jax.Array | np.ndarray]]


def super_resolve(
  module: nn.Module,
  variables: Mapping[str, Any],
  lr: jax.Array | np.ndarray,
  valid: Area | None = None,
  moments: Moments | None = None,
  place: Place = None,
) -> jax.Array:
  """Runs the network on a window.

  Args:
    module: a backbone.
    variables: its variables, `{"params": …}`.
    lr: the window, RGB in [0, 1], N×H×W×3.
    valid: the part of the window that is image; None means all. Outside it, lr
      repeats the image's edge.
    moments: what pools return; None computes it from the window.
    place: where the window lies in its image; None: it is the image, or the
      network has no coarse maps.

  Returns:
    RGB around [0, 1], N×sH×sW×3 float32, not clipped.
  """
  return _apply(module, variables, lr, valid, moments, place)[0]


def gather(
  module: nn.Module,
  variables: Mapping[str, Any],
  lr: jax.Array | np.ndarray,
  own: Area,
  valid: Area | None = None,
  moments: Moments | None = None,
  place: Place = None,
) -> Moments:
  """Runs the network on a window and returns what its pools see there.

  Args:
    module: a backbone.
    variables: its variables, `{"params": …}`.
    lr: the window, RGB in [0, 1], N×H×W×3.
    own: the part of the window to take the moments over: its tile.
    valid: the part of the window that is image; None means all.
    moments: what pools return, from an earlier pass; None computes it from the
      window.
    place: see `super_resolve`.

  Returns:
    The moments of each pool's input.
  """
  return _apply(module, variables, lr, valid, moments, place, own)[1]


@contextlib.contextmanager
def intercepted(
  mask: Callable[[jax.Array], jax.Array],
  pool: Callable[[Pool, str, jax.Array], list[jax.Array] | None],
  coarse: Callable[..., jax.Array],
) -> Iterator[None]:
  """Replaces what `Conv` convolves, and what pools and coarse maps are.

  Args:
    mask: maps each input of a convolution of more than one pixel.
    pool: called with a layer, its path and its input; None keeps what the layer
      returns. The second call of a layer has the path "PATH#2".
    coarse: called instead of a layer of `bamjax.layers.coarse`, with the layer,
      its call and what it is called with.
  """
  calls: collections.Counter[str] = collections.Counter()

  def intercept(
    call: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    context: nn.module.InterceptorContext,
  ) -> Any:
    layer = context.module
    if context.method_name != "__call__" or not args:
      return call(*args, **kwargs)
    if isinstance(layer, Layer):
      return coarse(layer, call, *args)
    x, *others = args
    # A convolution with a stride sees nothing outside its map.
    if isinstance(layer, Conv) and layer.kernel_size > 1 == layer.stride:
      return call(jax.tree.map(mask, x), *others, **kwargs)
    if isinstance(layer, Pool):
      path = "/".join(layer.path)
      calls[path] += 1
      call_path = path if calls[path] == 1 else f"{path}#{calls[path]}"
      pooled = pool(layer, call_path, x)
      return call(x) if pooled is None else pooled
    return call(*args, **kwargs)

  with nn.intercept_methods(intercept):
    yield


def _apply(
  module: nn.Module,
  variables: Mapping[str, Any],
  lr: jax.Array | np.ndarray,
  valid: Area | None,
  moments: Moments | None,
  place: Place = None,
  own: Area | None = None,
) -> tuple[jax.Array, Moments]:
  found = {}
  lr = jnp.asarray(lr)
  grid: Grid | None = None  # of the last coarse map

  def without_padding(x: jax.Array) -> jax.Array:
    if covers(lr.shape, x):
      return x if valid is None else jnp.where(_mask(valid, x), x, 0)
    if place is not None and grid is not None:
      # Cells outside the image are 0 as pixels are; so is no pooled value.
      sizes = zip(x.shape[1:3], place, strict=True)
      rows, columns = (grid.valid(n, extent) for n, extent in sizes)
      return jnp.where((rows[:, None] & columns)[None, :, :, None], x, 0)
    return x

  def coarse(
    layer: Layer, call: Callable[..., jax.Array], *args: jax.Array
  ) -> jax.Array:
    nonlocal grid
    grid = layer.grid
    return call(*args, place=place)

  def pool(layer: Pool, path: str, x: jax.Array) -> list[jax.Array] | None:
    if not covers(lr.shape, x):
      return None
    if own is not None:
      found[path] = _moments(x, _mask(own, x))
    if moments is not None:
      return _pooled(layer, moments[path], x.dtype)
    if valid is not None:
      return _pooled(layer, _moments(x, _mask(valid, x)), x.dtype)
    return None

  # TF32 would change the printed digits of benchmarks.
  with (
    jax.default_matmul_precision("highest"),
    intercepted(without_padding, pool, coarse),
  ):
    sr = module.apply(variables, lr)
  assert isinstance(sr, jax.Array)  # no collection is mutable
  return sr, found


def covers(lr: Sequence[int], x: jax.Array) -> bool:
  """Whether features x cover the image of a shape, N×H×W×3.

  Those that were pooled don't.
  """
  height, width = lr[1:3]
  factor = x.shape[1] // height if x.ndim == 4 else 0
  return factor > 0 and x.shape[1:3] == (factor * height, factor * width)


def _mask(area: Area, x: jax.Array) -> jax.Array:
  """An area of the window at the resolution of features x, 1×h×w×1 bool."""
  factor = x.shape[1] // area[0].size
  rows, columns = (jnp.repeat(flags, factor) for flags in area)
  return (rows[:, None] & columns)[None, :, :, None]


def _moments(x: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
  """Mean, variance and maximum of each channel over the masked positions."""
  count = jnp.sum(mask)
  low = jnp.where(mask, x, -jnp.inf)
  x = x.astype(jnp.float32)

  def mean(values: jax.Array) -> jax.Array:
    total = jnp.sum(jnp.where(mask, values, 0), axis=(1, 2), keepdims=True)
    return total / count

  center = mean(x)
  return {
    "mean": center,
    "variance": mean((x - center) ** 2),
    "max": jnp.max(low, axis=(1, 2), keepdims=True).astype(jnp.float32),
    "count": jnp.full((1, 1, 1, 1), count, jnp.float32),
  }


def _pooled(
  layer: Pool, moments: Mapping[str, jax.Array | np.ndarray], dtype: np.dtype
) -> list[jax.Array]:
  """Returns what the layer returns for an input with these moments."""
  variance = moments["variance"]
  values = {
    **moments,
    "deviation": jnp.sqrt(variance),
    "sample_variance": unbiased(variance, moments["count"]),
  }
  return [jnp.asarray(values[kind], dtype) for kind in layer.kinds]


def combine(parts: Iterable[tuple[int, Moments]]) -> Moments:
  """Combines the moments of the tiles of an image.

  Exact up to rounding, in float64 (Chan et al. 1983, eq. 2.1).

  Args:
    parts: size in pixels and moments of each tile.
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
      "count": np.float32(sum(part[path]["count"] for part in moments)),
    }
  return combined
