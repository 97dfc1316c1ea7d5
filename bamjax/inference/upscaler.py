"""Super-resolution of images with a backbone and its variables."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import functools
import itertools
import logging
import math
import numbers
import threading
from typing import Any
from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bamjax import forks
from bamjax import pixels
from bamjax.errors import UserError
from bamjax.errors import warn_once
from bamjax.inference import cuda_graphs
from bamjax.inference import footprint
from bamjax.inference import precision
from bamjax.inference import programs
from bamjax.inference import tiling
from bamjax.inference import windows
from bamjax.layers import coarse
from bamjax.layers.fields import is_whole
from bamjax.memory import device_memory
from bamjax.memory import host_memory

_logger = logging.getLogger(__name__)

_SMALLEST_TILE = 64  # LR pixels
# Limit of the default halo. Pixels farther away have hardly any influence.
_LARGEST_HALO = 64  # LR pixels
_SMALLEST_MEMORY = 1e5  # bytes
# Largest ratio of the pixels in a shared window to those in the image.
_LARGER = 1.5


class NotFiniteError(UserError):
  """The output of a network contains NaN or infinity."""


class _Programs(NamedTuple):
  """The programs of `windows` for a network."""

  gather: cuda_graphs.Repeated
  super_resolve: cuda_graphs.Repeated

  @classmethod
  def of(cls, module: nn.Module, weights: Any) -> "_Programs":
    return cls(
      *(
        cuda_graphs.Repeated(
          functools.partial(programs.run, function, module), weights
        )
        for function in (windows.gather, windows.super_resolve)
      )
    )


# How the rows and the columns of an image are tiled.
_Plan = tuple[tiling.Axis, tiling.Axis]
# First pixel of a window along an axis, pixels of the image, and of the window.
_Along = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class _Turn:
  """One of the eight symmetries of an image.

  Attributes:
    flip: whether to mirror the columns, before turning.
    quarters: counterclockwise quarter turns.
  """

  flip: bool = False
  quarters: int = 0

  def apply(self, x: np.ndarray) -> np.ndarray:
    """Turns images, N×H×W×C."""
    x = x[:, :, ::-1] if self.flip else x
    return np.rot90(x, self.quarters, axes=(1, 2))

  def undo(self, x: np.ndarray) -> np.ndarray:
    """Turns images, N×H×W×C, back."""
    x = np.rot90(x, -self.quarters, axes=(1, 2))
    return x[:, :, ::-1] if self.flip else x

  def area(self, area: windows.Area) -> windows.Area:
    """Turns an area of a window."""
    rows, columns = area
    columns = columns[::-1] if self.flip else columns
    for _ in range(self.quarters):
      rows, columns = columns[::-1], rows
    return rows, columns

  def place(
    self, plan: _Plan, window: tuple[tiling.Span, tiling.Span]
  ) -> coarse.Place:
    """Where a turned window lies in the turned image."""

    def reversed_(axis: _Along) -> _Along:
      start, length, size = axis
      return length - start - size, length, size

    rows, columns = (
      (span.window, axis.length, axis.window)
      for span, axis in zip(window, plan, strict=True)
    )
    columns = reversed_(columns) if self.flip else columns
    for _ in range(self.quarters):
      rows, columns = reversed_(columns), rows
    # Arrays, so that all windows share a compiled program.
    (top, height, _), (left, width, _) = rows, columns
    return (
      (np.int32(top), np.int32(height)),
      (np.int32(left), np.int32(width)),
    )


_EIGHT = tuple(
  itertools.starmap(_Turn, itertools.product((False, True), range(4)))
)


class Upscaler:
  """A network as a function that upscales images of any size.

  Images whose feature maps would not fit in memory are processed in tiles. Each
  tile sees a halo of neighbouring pixels, which is cropped from its output.

  If the halo is at least the network's reach, the result differs from that of
  the whole image by rounding only, unless the network pools over the whole
  image. Attentions that do (BAM, ACAM, CA, CCA, SE, CBAM, LA) get the whole
  image's pools in every tile, which are gathered in `passes` earlier passes.
  """

  def __init__(
    self,
    module: nn.Module,
    variables: Mapping[str, Any],
    *,
    self_ensemble: bool = False,
    tile: int | None = None,
    halo: int | None = None,
    passes: int = 1,
    memory: float | None = None,
    padded: bool = False,
    shared: bool = False,
    dtype: str | None = None,
  ):
    """Prepares a network.

    Tiles and padding are used where the network's trace proves that they leave
    the result as it is. Padding is masked out, for which all layers that see
    neighbouring pixels or pool must be those of `bamjax.layers`. Other networks
    are not padded, and those with operations whose reach is not known are not
    tiled unless there is a `halo`; a warning names the operation.

    Args:
      module: a Linen module that maps RGB in [0, 1], N×H×W×3, to N×sH×sW×3,
        with the field `scale`, s: a backbone, or one of your own.
      variables: its variables, `{"params": …}`.
      self_ensemble: average the outputs for the eight flips and quarter turns
        of the image, turned back: the literature's "+" (Timofte et al. 2016,
        "Seven ways to improve example-based single image super resolution").
      tile: largest side of a tile in LR pixels, without its halo. 0 never
        tiles; None tiles images that would not fit in memory.
      halo: LR pixels that a tile sees on each side. None is the network's
        reach, but at most 64.
      passes: passes over a tiled image that gather what attentions pool. Each
        uses the pools of the pass before. With as many passes as there are
        pooling attentions in a row, tiles equal the whole image. With 0, each
        tile pools over itself.
      memory: bytes that a pass may use, for `tile=None`. None is 0.9 of the
        device's memory, or half of the host's, within a container's limit. A
        batch that needs more is processed in parts.
      padded: pad images and windows to one of some sizes, at most 1/16 longer
        from 512 LR pixels on, so that images of many sizes share compiled
        programs.
      shared: pad an image to the size of an earlier one that has at most 1.5
        times its pixels, so that images of similar sizes share a compiled
        program, at no cost for images of equal sizes. The first image that is
        padded to a size compiles one more.
      dtype: None computes in that of the module, normally float32. "auto" does
        so but for uint8 images, on CPUs that multiply bfloat16 natively and are
        faster so: those are computed in it (docs/performance.md). A name, such
        as "bfloat16", computes all in it.

    Raises:
      ValueError: `tile`, `halo` or `passes` is no whole number or negative,
        `memory` looks like gigabytes, the variables have no `params`, or the
        module has no `scale`.
    """
    forks.check()
    for name, value, required in (
      ("tile", tile, False),
      ("halo", halo, False),
      ("passes", passes, True),
    ):
      zero = value == 0 and isinstance(value, numbers.Integral)
      if isinstance(value, bool) or not (
        zero or is_whole(value) or (value is None and not required)
      ):
        raise UserError(
          f"{name} must be a whole number from 0 on; got {value!r}"
        )
    if memory is not None:
      _check_memory(memory)
    if variables and "params" not in variables:
      raise ValueError('variables must be {"params": …}, as from load_weights')
    if not is_whole(getattr(module, "scale", None)):
      raise ValueError(
        f"{type(module).__name__} has no upscaling factor: it needs the field"
        " scale"
      )
    if getattr(module, "remat", False):
      module = module.clone(remat=False)  # useful in training only
    if dtype not in (None, "auto"):
      module = precision.with_dtype(module, _dtype(dtype))
    self._module = module
    # Otherwise each call would copy them to the device.
    weights = jax.device_put(variables)
    eight = precision.for_8_bits(module) if dtype == "auto" else module
    self._exact = self._in_8_bits = _Programs.of(module, weights)
    if eight is not module:
      self._in_8_bits = _Programs.of(eight, weights)
    self._turns = _EIGHT if self_ensemble else (_Turn(),)
    self._tile = tile
    self._halo = halo
    needs = footprint.footprint(module)
    self._passes = min(passes, needs.pools)
    self._coarse = needs.coarse
    self._pixels = math.inf
    if tile is None and needs.bytes_per_pixel:
      memory = _usable_memory() if memory is None else memory
      self._pixels = memory / needs.bytes_per_pixel
    self._padded = padded
    self._shared = shared
    self._seen: set[tuple[int, int]] = set()  # windows of earlier images
    self._lock = threading.Lock()

  @property
  def scale(self) -> int:
    """The upscaling factor s."""
    return self._module.scale

  def warm_up(self, sizes: Iterable[tuple[int, int]]) -> None:
    """Compiles the programs of images of some sizes, before they come.

    Runs the network once for each. The last `programs.KEPT` programs of a
    process are kept, 64: an image takes one, two if it is tiled or, with
    `shared`, smaller than an earlier one, and all `Upscaler` of one module
    share them.

    Args:
      sizes: height and width in LR pixels. With `shared`, in the order in which
        images are to come.
    """
    for height, width in sizes:
      self(np.full((height, width, 3), 128, np.uint8))

  def tiles(self, height: int, width: int) -> int:
    """Returns the number of tiles for an image of height×width LR pixels."""
    rows, columns = self._plan(height, width)
    return len(rows.spans) * len(columns.spans)

  def __call__(
    self,
    image: np.ndarray,
    progress: Callable[[int, int], None] | None = None,
  ) -> np.ndarray:
    """Upscales an image, or a batch of images of the same size.

    Args:
      image: RGB, H×W×3 or N×H×W×3, uint8, uint16, or floating in [0, 1].
      progress: called after each run of the network, with the number of runs
        so far and in total.

    Returns:
      RGB, sH×sW×3 or N×sH×sW×3. For integers, of the same dtype, rounded half
      up; otherwise float32, clipped to [0, 1].

    Raises:
      ValueError: the shape or dtype is unsupported, or floats are not in [0, 1]
        (`bamjax.pixels` says how far they may overshoot).
      NotFiniteError: the output contains NaN or infinity, because the weights
        do, or are too large for the dtype of the computation.
    """
    forks.check()
    image = np.asarray(image)
    if image.ndim not in (3, 4) or image.shape[-1] != 3 or not image.size:
      raise ValueError(
        f"images must be H×W×3 or N×H×W×3; got shape {image.shape}"
      )
    pixels.check(image, integers=pixels.PEAKS)
    integer = image.dtype.name in pixels.PEAKS
    # NumPy's own floating-point types do not include bfloat16.
    if not integer and image.dtype.kind != "f":
      image = image.astype(np.float32)
    sr = self._batch(
      image if image.ndim == 4 else image[None],
      image.dtype if integer else np.dtype(np.float32),
      progress or (lambda done, count: None),
    )
    return sr if image.ndim == 4 else sr[0]

  @functools.cached_property
  def _sees(self) -> footprint.Reach:
    return footprint.reach(self._module)

  def _pads(self, height: int, width: int) -> bool:
    """Whether the window may extend beyond an image, which changes nothing."""
    reason = self._sees.unpadded
    if reason and self._padded:
      warn_once(
        f"{type(self._module).__name__} has {reason}, which padding would"
        " change: images are not padded, and each size compiles a program"
      )
    return not reason and min(height, width) >= footprint.LEAST

  def _plan(self, height: int, width: int) -> _Plan:
    padded = self._padded and self._pads(height, width)
    alone = self._earlier(height, width) or (
      tiling.whole(height, padded),
      tiling.whole(width, padded),
    )
    fits = alone[0].window * alone[1].window <= self._pixels
    if self._tile == 0 or (self._tile is None and fits):
      return alone
    if self._tile is not None and max(height, width) <= self._tile:
      return alone
    if self._sees.untiled:
      name = f"{type(self._module).__name__} has {self._sees.untiled}"
      if self._halo is None:
        warn_once(
          f"{name}, where tiles would differ from the whole image: it is not"
          " tiled"
        )
        return alone
      warn_once(
        f"{name}, where tiles may differ from the whole image, in spite of"
        f" halo={self._halo}"
      )
    halo = self._halo
    if halo is None:
      halo = min(self._sees.pixels, _LARGEST_HALO)
    tile = self._tile
    if tile is not None:
      halo = max(halo, (footprint.LEAST - tile + 1) // 2)
    else:
      tile = max(int(math.sqrt(self._pixels)) - 2 * halo, _SMALLEST_TILE)
    return (
      tiling.cut(height, tile, halo, padded),
      tiling.cut(width, tile, halo, padded),
    )

  def _earlier(self, height: int, width: int) -> _Plan | None:
    """The window of an earlier image that holds this image, if there is one."""
    most = min(_LARGER * height * width, self._pixels)
    with self._lock:
      fitting = [
        (rows, columns)
        for rows, columns in self._seen
        if height <= rows and width <= columns and rows * columns <= most
      ]
    if not fitting or not self._pads(height, width):
      return None
    rows, columns = min(fitting, key=lambda w: (math.prod(w), w))
    return tiling.inside(height, rows), tiling.inside(width, columns)

  def _batch(
    self,
    images: np.ndarray,
    dtype: np.dtype,
    progress: Callable[[int, int], None],
  ) -> np.ndarray:
    """Upscales N×H×W×3 to N×sH×sW×3 of a dtype, in parts that fit in memory."""
    n, height, width, _ = images.shape
    plan = self._plan(height, width)
    fitting = max(self._pixels / (plan[0].window * plan[1].window), 1)
    # Parts of equal size share a program.
    size = max(k for k in range(1, n + 1) if n % k == 0 and k <= fitting)
    parts = n // size

    def upscaled(part: int) -> np.ndarray:
      return self._part(
        images[part * size : (part + 1) * size],
        plan,
        dtype,
        lambda done, count: progress(part * count + done, parts * count),
      )

    if parts == 1:
      return upscaled(0)
    return np.concatenate([*map(upscaled, range(parts))])

  def _part(
    self,
    images: np.ndarray,
    plan: _Plan,
    dtype: np.dtype,
    progress: Callable[[int, int], None],
  ) -> np.ndarray:
    """Upscales images at once."""
    n, height, width, _ = images.shape
    spans = list(itertools.product(plan[0].spans, plan[1].spans))
    gathering = self._passes if len(spans) > 1 else 0
    if gathering and self._sees.untiled:
      gathering = 0  # those of a loop's turns can't be told apart
    if self._shared and len(spans) == 1:
      with self._lock:
        self._seen.add((plan[0].window, plan[1].window))
    if self._tile is None and len(spans) > 1 and not self._padded:
      _logger.warning(
        "%d×%d LR pixels would not fit in memory: using %d tiles%s",
        width,
        height,
        len(spans),
        ", which changes the result slightly" if self._passes else "",
      )
    chosen = self._in_8_bits if images.dtype == np.uint8 else self._exact
    steps = itertools.count(1)
    count = len(spans) * len(self._turns) * (gathering + 1)
    moments: dict[_Turn, windows.Moments | None] = dict.fromkeys(self._turns)
    for turn in self._turns:
      for _ in range(gathering):
        parts = []
        for window in spans:
          own = (
            plan[0].flags(window[0].inside),
            plan[1].flags(window[1].inside),
          )
          found = self._run(
            chosen.gather, images, plan, window, turn, moments[turn], own
          )
          size = math.prod(s.stop - s.start for s in window)
          parts.append((size, jax.device_get(found)))
          progress(next(steps), count)
        moments[turn] = windows.combine(parts)

    scale = self.scale
    sr = np.empty((n, scale * height, scale * width, 3), dtype)
    for window in spans:
      total = np.zeros((), np.float32)
      for turn in self._turns:
        y = self._run(
          chosen.super_resolve, images, plan, window, turn, moments[turn]
        )
        rows, columns = (_scaled(span.inside, scale) for span in window)
        y = turn.undo(np.asarray(y))[:, rows, columns]
        # Infinity would be clipped to white, and NaN converted to black.
        if not np.isfinite(y).all():
          raise NotFiniteError("the network's output is not finite")
        total = total + y
        progress(next(steps), count)
      rows, columns = (_scaled(span.own, scale) for span in window)
      mean = total / np.float32(len(self._turns))
      sr[:, rows, columns] = _finished(mean, dtype)
    return sr

  def _run(
    self,
    program: Callable[..., Any],
    images: np.ndarray,
    plan: _Plan,
    window: tuple[tiling.Span, tiling.Span],
    turn: _Turn,
    moments: windows.Moments | None,
    own: windows.Area | None = None,
  ) -> Any:
    """Runs a program of `windows` on one window, turned."""
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
    lr = lr / np.float32(pixels.PEAKS.get(images.dtype.name, 1))
    valid = None
    if any(axis.padded for axis in plan):
      valid = turn.area((plan[0].valid, plan[1].valid))
    areas = [valid] if own is None else [turn.area(own), valid]
    place = None
    if self._coarse and any(axis.window != axis.length for axis in plan):
      place = turn.place(plan, window)
    return program(lr, *areas, moments, place)


def _usable_memory() -> float:
  """Bytes that a pass may use: most of the device's, or half of the host's."""
  device = device_memory()
  return 0.5 * host_memory().total if device is None else 0.9 * device.total


def _check_memory(memory: Any) -> None:
  number = isinstance(memory, numbers.Real) and not isinstance(memory, bool)
  if not number or not memory >= 0:
    raise UserError(f"memory must be a number from 0 on; got {memory!r}")
  if 0 < memory < _SMALLEST_MEMORY:
    raise UserError(f"memory is in bytes, e.g. 2e9; got {memory}")


def _dtype(name: str) -> np.dtype:
  """The dtype of a name.

  Raises:
    UserError: networks do not compute in it, or only slowly.
  """
  if name not in ("float32", "bfloat16"):
    raise UserError(f"dtype must be auto, float32 or bfloat16; got {name!r}")
  return jnp.dtype(name)


def _scaled(part: slice, factor: int) -> slice:
  return slice(factor * part.start, factor * part.stop)


def _finished(sr: np.ndarray, dtype: np.dtype) -> np.ndarray:
  """Clips values in [0, 1], and converts them to a dtype, rounding half up."""
  sr = np.clip(sr, 0, 1)
  if dtype.name not in pixels.PEAKS:
    return sr
  peak = np.float32(pixels.PEAKS[dtype.name])
  return np.floor(sr * peak + np.float32(0.5)).astype(dtype)
