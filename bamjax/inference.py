"""Super-resolution of pictures with a backbone and its variables."""

from collections.abc import Callable
import functools
import logging
import math
import os

from flax import linen as nn
import jax
from jax.extend.core import jaxprs_in_params
import jax.numpy as jnp
import numpy as np

_SMALLEST_TILE = 64  # LR pixels


@functools.partial(jax.jit, static_argnums=0)
def _super_resolve(module, variables, lr):
  # TF32 would move the printed digits of a benchmark.
  with jax.default_matmul_precision("highest"):
    return module.apply(variables, lr)


class Upscaler:
  """A backbone with its variables, as a function of pictures.

  Pictures of equal shape share one compiled program. A picture that would not
  fit into memory is done in tiles, all of one shape, each with a halo of
  neighbouring pixels that is cut off again. A tile that does not see all that
  its pixels depend on differs from the whole picture: slightly where a
  network's reach exceeds the halo, and in the attention's weights where these
  come from means over the picture (BAM, CA, CCA, …).
  """

  def __init__(
    self,
    module: nn.Module,
    variables,
    *,
    self_ensemble: bool = False,
    tile: int | None = None,
    halo: int = 32,
  ):
    """Takes a network.

    Args:
      module: a Linen backbone.
      variables: its variables, `{"params": …}`.
      self_ensemble: average the outputs of the eight flips and quarter turns
        of each picture, turned back: the literature's "+" (Timofte et al. 2016,
        "Seven ways to improve example-based single image super resolution").
      tile: side of the tiles in LR pixels, their halo not counted; 0 never
        tiles, None tiles what would not fit into memory.
      halo: LR pixels that a tile sees on each side beyond its own.

    Raises:
      ValueError: a side is negative.
    """
    if (tile or 0) < 0 or halo < 0:
      raise ValueError(f"tile and halo can't be negative: {tile}, {halo}")
    self._module = module
    self._variables = variables
    self._self_ensemble = self_ensemble
    self._tile = _auto_tile(module, halo) if tile is None else tile
    self._tells = tile is None
    self._halo = halo

  def tiles(self, height: int, width: int) -> int:
    """Number of tiles that a picture of height × width LR pixels is done in."""
    if not self._tile or max(height, width) <= self._tile + 2 * self._halo:
      return 1
    return math.ceil(height / self._tile) * math.ceil(width / self._tile)

  def __call__(self, image: np.ndarray) -> np.ndarray:
    """Upscales one picture or a batch of equal shapes.

    Args:
      image: H×W×3 or N×H×W×3, uint8, or float RGB in [0, 1].

    Returns:
      sH×sW×3 or N×sH×sW×3, clipped to the input's range: uint8, rounded half
      up, for uint8; else float32.

    Raises:
      ValueError: the shape is another.
    """
    image = np.asarray(image)
    if image.ndim not in (3, 4) or image.shape[-1] != 3:
      raise ValueError(
        f"a picture is H×W×3 or N×H×W×3; got shape {image.shape}"
      )
    integer = image.dtype == np.uint8
    lr = image.astype(np.float32) / (255 if integer else 1)
    lr = lr if image.ndim == 4 else lr[None]
    sr = _ensembled(self._pass, lr) if self._self_ensemble else self._pass(lr)
    sr = np.clip(sr, 0, 1)
    if integer:
      sr = np.floor(sr * 255 + 0.5).astype(np.uint8)
    return sr if image.ndim == 4 else sr[0]

  def _pass(self, lr: np.ndarray) -> np.ndarray:
    """The network on N×H×W×3 float32, in tiles if need be, not clipped."""
    run = functools.partial(_super_resolve, self._module, self._variables)
    count = self.tiles(*lr.shape[1:3])
    if count == 1:
      return np.asarray(run(lr))
    if self._tells:
      logging.warning(
        "%d×%d LR pixels would not fit into memory: done in %d tiles, which"
        " differs a little from the whole",
        *lr.shape[2:0:-1],
        count,
      )
    return _tiled(run, lr, self._module.scale, self._tile, self._halo)


def _ensembled(
  run: Callable[[np.ndarray], np.ndarray], lr: np.ndarray
) -> np.ndarray:
  """Mean of `run` over the eight symmetries of N×H×W×3.

  One after the other, so that memory stays that of one.
  """
  total = 0
  for turns in range(4):
    for flip in (False, True):
      x = np.rot90(lr[:, :, ::-1] if flip else lr, turns, axes=(1, 2))
      y = np.rot90(run(x), -turns, axes=(1, 2))
      total = total + (y[:, :, ::-1] if flip else y)
  return total / 8


def _tiled(run, lr: np.ndarray, scale: int, tile: int, halo: int) -> np.ndarray:
  """`run` on windows of one shape, of which the tiles inside are kept."""
  n, height, width, c = lr.shape
  window = [min(tile + 2 * halo, side) for side in (height, width)]
  sr = np.empty((n, scale * height, scale * width, c), np.float32)
  for y in range(0, height, tile):
    for x in range(0, width, tile):
      # At the picture's edges the window is moved inwards.
      top, left = (
        min(max(start - halo, 0), side - length)
        for start, side, length in zip(
          (y, x), (height, width), window, strict=True
        )
      )
      part = np.asarray(
        run(lr[:, top : top + window[0], left : left + window[1]])
      )
      bottom, right = min(y + tile, height), min(x + tile, width)
      sr[:, scale * y : scale * bottom, scale * x : scale * right] = part[
        :,
        scale * (y - top) : scale * (bottom - top),
        scale * (x - left) : scale * (right - left),
      ]
  return sr


def _auto_tile(module: nn.Module, halo: int) -> int:
  """Side of the tiles that fit into memory."""
  pixels = _memory() / _bytes_per_pixel(module)
  return max(int(math.sqrt(pixels)) - 2 * halo, _SMALLEST_TILE)


def _memory() -> float:
  """Bytes that a pass may take: of the device, or half of the machine's."""
  stats = jax.local_devices()[0].memory_stats() or {}
  if "bytes_limit" in stats:
    return 0.9 * stats["bytes_limit"]
  return 0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@functools.lru_cache(maxsize=64)
def _bytes_per_pixel(module: nn.Module) -> float:
  """Peak memory of a pass for each LR pixel, roughly.

  Three times the largest array of the network: what it is made from, itself,
  and what is made from it.
  """
  side = 32
  lr = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), lr)
  jaxpr = jax.make_jaxpr(module.apply)(variables, lr)
  return 3 * max(_sizes(jaxpr.jaxpr, side)) / side**2


def _sizes(jaxpr, side: int):
  """Bytes of a program's feature maps, which are …×(k·side)×(k·side)×…."""
  for equation in jaxpr.eqns:
    for variable in equation.outvars:
      array = variable.aval
      # Not so the weights, which don't grow with the picture.
      if array.ndim >= 4 and not any(n % side for n in array.shape[1:3]):
        yield array.size * array.dtype.itemsize
    for inner in jaxprs_in_params(equation.params):
      yield from _sizes(inner, side)
