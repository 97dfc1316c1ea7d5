"""Super-resolution of images with a backbone and its variables."""

from collections.abc import Callable
import dataclasses
import itertools
import logging
import math

from flax import linen as nn
import jax
import numpy as np

from bamjax.errors import UserError
from bamjax.inference import footprint
from bamjax.inference import tiling
from bamjax.inference import windows
from bamjax.memory import device_memory
from bamjax.memory import host_memory

_SMALLEST_TILE = 64  # LR pixels
# Most of a halo found by itself. What lies farther has next to no influence.
_LARGEST_HALO = 64  # LR pixels
# Pixels of an earlier image's window in those of an image that shares it.
_LARGER = 1.5
# Values of full intensity.
PEAKS = {"uint8": 255, "uint16": 65535}


class NotFiniteError(UserError):
  """A network gave NaN or infinite numbers, which are no image."""


@dataclasses.dataclass(frozen=True)
class _Turn:
  """One of the eight symmetries of an image: flipped or not, then turned."""

  flip: bool = False
  quarters: int = 0

  def apply(self, x: np.ndarray) -> np.ndarray:
    """Turns N×H×W×C."""
    x = x[:, :, ::-1] if self.flip else x
    return np.rot90(x, self.quarters, axes=(1, 2))

  def undo(self, x: np.ndarray) -> np.ndarray:
    """Turns N×H×W×C back."""
    x = np.rot90(x, -self.quarters, axes=(1, 2))
    return x[:, :, ::-1] if self.flip else x

  def area(self, area: windows.Area) -> windows.Area:
    """Turns an area of a window with it."""
    rows, columns = area
    columns = columns[::-1] if self.flip else columns
    for _ in range(self.quarters):
      rows, columns = columns[::-1], rows
    return rows, columns


_EIGHT = tuple(
  itertools.starmap(_Turn, itertools.product((False, True), range(4)))
)


class Upscaler:
  """A backbone with its variables, as a function of images.

  An image that would not fit into memory is done in tiles, each with a halo
  of neighbouring pixels that is cut off again; the output is the only array of
  its size. Where the halo holds the network's reach, tiles differ from the
  whole image by rounding alone, if the network does not pool over the whole
  image. Attentions that do (BAM, ACAM, CA, CCA, SE, CBAM, LA) are given the
  whole image's pools in every tile, gathered in `passes` passes before.
  """

  def __init__(
    self,
    module: nn.Module,
    variables,
    *,
    self_ensemble: bool = False,
    tile: int | None = None,
    halo: int | None = None,
    passes: int = 1,
    memory: float | None = None,
    padded: bool = False,
    shared: bool = False,
  ):
    """Takes a network.

    Args:
      module: a Linen backbone.
      variables: its variables, `{"params": …}`.
      self_ensemble: average the outputs of the eight flips and quarter turns
        of each image, turned back: the literature's "+" (Timofte et al. 2016,
        "Seven ways to improve example-based single image super resolution").
      tile: side of the tiles in LR pixels, their halo not counted, at most; 0
        never tiles, None tiles what would not fit into memory.
      halo: LR pixels that a tile sees on each side beyond its own. None is what
        the network reaches, 64 at most.
      passes: over a tiled image to gather what attentions pool, each but the
        first with the pools that the one before found. As many as there are
        such attentions in a row make tiles equal the whole. 0: each tile pools
        over itself.
      memory: bytes that a pass may take, for `tile=None`; None is what the
        device has, or half of the machine's memory.
      padded: pad images and windows, where that is exact, to one of a few
        sizes, so that images of many sizes share compiled programs. Exact
        for networks whose layers that look around are this library's.
      shared: pad an image, where that is exact, to the size of an earlier one
        that is larger by half at most: images of nearly the same size share
        a compiled program, and those of one size cost nothing more.

    Raises:
      ValueError: a number is negative.
    """
    if min(tile or 0, halo or 0, passes, memory or 0) < 0:
      raise ValueError(
        "tile, halo, passes and memory can't be negative:"
        f" {tile}, {halo}, {passes}, {memory}"
      )
    if getattr(module, "remat", False):
      module = module.clone(remat=False)  # a matter of training
    self._module = module
    # Else each call would bring them to the device again.
    self._variables = jax.device_put(variables)
    self._turns = _EIGHT if self_ensemble else (_Turn(),)
    self._tile = tile
    found = footprint.footprint(module)
    self._halo = min(found.reach, _LARGEST_HALO) if halo is None else halo
    self._passes = min(passes, found.pools)
    self._pixels = math.inf
    if tile is None:
      memory = _usable_memory() if memory is None else memory
      self._pixels = memory / found.bytes_per_pixel
    self._padded = padded
    self._shared = shared
    self._seen: set[tuple[int, int]] = set()  # windows of earlier images

  @property
  def scale(self) -> int:
    """The upscaling factor s."""
    return self._module.scale

  def tiles(self, height: int, width: int) -> int:
    """Number of tiles that an image of height × width LR pixels is done in."""
    rows, columns = self._plan(height, width)
    return len(rows.spans) * len(columns.spans)

  def __call__(
    self,
    image: np.ndarray,
    progress: Callable[[int, int], None] | None = None,
  ) -> np.ndarray:
    """Upscales one image or a batch of equal shapes.

    Args:
      image: H×W×3 or N×H×W×3, uint8, uint16, or float RGB in [0, 1].
      progress: called with the number of the network's runs that are done, and
        that of all, after each.

    Returns:
      sH×sW×3 or N×sH×sW×3, clipped to the input's range: of its dtype, rounded
      half up, for integers; else float32.

    Raises:
      ValueError: the shape or the dtype is another, or floats are far outside
        [0, 1].
      NotFiniteError: the network gives NaN or infinite numbers: its weights are
        too large for the dtype that it computes in.
    """
    image = np.asarray(image)
    if image.ndim not in (3, 4) or image.shape[-1] != 3 or not image.size:
      raise ValueError(f"an image is H×W×3 or N×H×W×3; got shape {image.shape}")
    integer = image.dtype.name in PEAKS
    if not integer and not np.issubdtype(image.dtype, np.floating):
      raise ValueError(f"an image is uint8, uint16 or float; got {image.dtype}")
    # A little beyond is what resizing leaves.
    if not integer and not -1 < image.min() <= image.max() < 2:
      raise ValueError(
        "an image of floats is in [0, 1]; this one is in"
        f" [{image.min():g}, {image.max():g}]: divide 8 bits by 255"
      )
    sr = self._batch(
      image if image.ndim == 4 else image[None],
      image.dtype if integer else np.dtype(np.float32),
      progress or (lambda done, count: None),
    )
    return sr if image.ndim == 4 else sr[0]

  def _plan(self, height: int, width: int) -> tuple[tiling.Axis, tiling.Axis]:
    sides = height, width
    alone = self._earlier(height, width) or tuple(
      tiling.whole(side, self._padded) for side in sides
    )
    fits = alone[0].window * alone[1].window <= self._pixels
    if self._tile == 0 or (self._tile is None and fits):
      return alone
    tile = self._tile
    if tile is None:
      tile = max(int(math.sqrt(self._pixels)) - 2 * self._halo, _SMALLEST_TILE)
    return tuple(
      tiling.cut(side, tile, self._halo, self._padded) for side in sides
    )

  def _earlier(self, height, width) -> tuple[tiling.Axis, ...]:
    """An earlier image's window that holds this image; () if none does."""
    most = min(_LARGER * height * width, self._pixels)
    fitting = [
      (rows, columns)
      for rows, columns in self._seen
      if height <= rows and width <= columns and rows * columns <= most
    ]
    if not fitting:
      return ()
    window = min(fitting, key=lambda w: (math.prod(w), w))
    return tuple(map(tiling.inside, (height, width), window))

  def _batch(self, images, dtype, progress) -> np.ndarray:
    """N×H×W×3 to N×sH×sW×3 of the dtype."""
    n, height, width, _ = images.shape
    plan = self._plan(height, width)
    spans = list(itertools.product(plan[0].spans, plan[1].spans))
    gathering = self._passes if len(spans) > 1 else 0
    if self._shared and len(spans) == 1:
      self._seen.add((plan[0].window, plan[1].window))
    if self._tile is None and len(spans) > 1 and not self._padded:
      logging.warning(
        "%d×%d LR pixels would not fit into memory: done in %d tiles%s",
        width,
        height,
        len(spans),
        ", which differs a little from the whole" if self._passes else "",
      )
    steps = itertools.count(1)
    count = len(spans) * len(self._turns) * (gathering + 1)
    moments = dict.fromkeys(self._turns)
    for turn in self._turns:
      for _ in range(gathering):
        parts = []
        for window in spans:
          own = [a.flags(s.inside) for a, s in zip(plan, window, strict=True)]
          found = self._run(
            windows.gather, images, plan, window, turn, moments[turn], own
          )
          size = math.prod(s.stop - s.start for s in window)
          parts.append((size, jax.device_get(found)))
          progress(next(steps), count)
        moments[turn] = windows.combine(parts)

    scale = self.scale
    sr = np.empty((n, scale * height, scale * width, 3), dtype)
    for window in spans:
      own = (slice(None), *(_scaled(s.own, scale) for s in window))
      inside = (slice(None), *(_scaled(s.inside, scale) for s in window))
      total = 0
      for turn in self._turns:
        y = self._run(
          windows.super_resolve, images, plan, window, turn, moments[turn]
        )
        y = turn.undo(np.asarray(y))[inside]
        # Clipped, infinity would be white; as an integer, NaN black.
        if not np.isfinite(y).all():
          raise NotFiniteError("what the network returns is not finite")
        total = total + y
        progress(next(steps), count)
      sr[own] = _finished(total / np.float32(len(self._turns)), dtype)
    return sr

  def _run(self, program, images, plan, window, turn, moments, own=None):
    """One program on one window, turned."""
    starts = [span.window for span in window]
    lr = images[
      :,
      starts[0] : starts[0] + plan[0].window,
      starts[1] : starts[1] + plan[1].window,
    ]
    missing = [a.window - n for a, n in zip(plan, lr.shape[1:3], strict=True)]
    if any(missing):
      edges = ((0, 0), (0, missing[0]), (0, missing[1]), (0, 0))
      lr = np.pad(lr, edges, mode="edge")
    lr = turn.apply(lr.astype(np.float32))
    lr = lr / np.float32(PEAKS.get(images.dtype.name, 1))
    valid = None
    if any(axis.padded for axis in plan):
      valid = turn.area(tuple(axis.valid for axis in plan))
    areas = [valid] if own is None else [turn.area(own), valid]
    return program(self._module, self._variables, lr, *areas, moments)


def _usable_memory() -> float:
  """Bytes that a pass may use: most of the device's, or half of the host's."""
  device = device_memory()
  return 0.5 * host_memory().total if device is None else 0.9 * device.total


def _scaled(part: slice, factor: int) -> slice:
  return slice(factor * part.start, factor * part.stop)


def _finished(sr: np.ndarray, dtype: np.dtype) -> np.ndarray:
  """Clips to the range of the dtype, and rounds half up to integers."""
  sr = np.clip(sr, 0, 1)
  if dtype.name not in PEAKS:
    return sr
  return np.floor(sr * np.float32(PEAKS[dtype.name]) + np.float32(0.5)).astype(
    dtype
  )
