"""Many images, one after the other; what fails is skipped."""

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import itertools
import logging
import math
from pathlib import Path
import threading
import time

from jax.errors import JaxRuntimeError

from bamjax import progress as progress_lib
from bamjax import terminal
from bamjax.errors import UserError
from bamjax.files import check_target
from bamjax.files import HeldError
from bamjax.files import identity
from bamjax.images import image_file
from bamjax.inference import NotFiniteError
from bamjax.upscaling import one_image
from bamjax.upscaling.chosen import Choose
from bamjax.upscaling.jobs import Job

_logger = logging.getLogger(__name__)

_FULL = "RESOURCE_EXHAUSTED"  # XLA's code if a device's memory is full
_QUIET_SECONDS = 30  # between two lines about one image


def upscale_files(
  jobs: Sequence[Job],
  choose: Choose,
  scale: int,
  quality: int | None = None,
) -> int:
  """Upscales image files and prints a line for each.

  An image that can't be read, or whose result can't be written or is not
  finite, is skipped with a warning. Existing files are overwritten.

  Args:
    jobs: the images and the files of their results.
    choose: returns the network of an image.
    scale: the networks' upscaling factor.
    quality: of JPEG and lossy WebP, 1 to 100; None is that of `image_file`.

  Returns:
    How many images were skipped.

  Raises:
    UserError: a file can't be written for a reason that others share, such as
      a full disk.
  """
  skipped, written = 0, set()
  with _Progress([source for source, _ in jobs]) as progress:
    for number, (source, target) in enumerate(jobs):
      start = time.monotonic()
      try:
        check_target(target)
        if identity(target) in written:
          raise UserError(f"{target} holds another image's result")
        image = image_file.read(source)
        height, width = image.color.shape[:2]
        image_file.check_output(target, scale * height, scale * width)
      except UserError as error:
        _logger.warning("left out: %s", error)
        skipped += 1
        continue
      try:
        network = choose(image)
        with progress.of(number):
          larger = one_image.upscale_image(network.upscaler, image, progress)
        image_file.write(target, larger, quality)
      except (
        NotFiniteError,
        image_file.FormatError,
        HeldError,
        MemoryError,
        JaxRuntimeError,
      ) as error:
        if isinstance(error, JaxRuntimeError) and _FULL not in str(error):
          raise
        _logger.warning("left out: %s", _reason(error, source))
        skipped += 1
        continue
      written.add(identity(target))
      print(
        f"{terminal.plain(target)}  {width}×{height} →"
        f" {scale * width}×{scale * height}{network.told},"
        f" {time.monotonic() - start:.1f} s",
        flush=True,
      )
  return skipped


def _reason(error: BaseException, source: Path) -> str:
  if isinstance(error, NotFiniteError):
    return f"{source}: {error}"
  if isinstance(error, UserError):
    return str(error)
  return f"{source} does not fit in memory"


class _Progress:
  """One bar over the pixels of all images, on a terminal.

  Elsewhere a line about an image every half minute.
  """

  def __init__(self, sources: Sequence[Path]):
    self._names = [terminal.plain(source.name) for source in sources]
    shown = progress_lib.shown()
    pixels = [_pixels(source) if shown else 0 for source in sources]
    # Pixels of all images before each, and of all.
    self._before = [0, *itertools.accumulate(pixels)]
    self._number = 0
    self._printed = 0.0
    self._bar = progress_lib.bar(
      total=self._before[-1], unit="pixel", unit_scale=True, leave=False
    )
    self._bar.clear()  # until the first image
    self._over = threading.Event()
    self._visible = threading.Lock()
    self._visible.acquire()
    # An image that is not tiled takes long without a sign.
    if not self._bar.disable:
      threading.Thread(target=self._tick, daemon=True).start()

  @contextlib.contextmanager
  def of(self, number: int) -> Iterator[None]:
    """Shows the bar, at an image, while the context is open."""
    self._number = number
    self._printed = time.monotonic()
    self._bar.set_description_str(
      f"image {number + 1} of {len(self._names)}", refresh=False
    )
    self._bar.set_postfix_str(self._names[number], refresh=False)
    self._advance(0)
    self._bar.refresh()
    self._visible.release()
    try:
      yield
    finally:
      self._visible.acquire()
      self._bar.clear()

  def __call__(self, done: int, count: int) -> None:
    """Advances within the image, by tiles that are done and all."""
    if not self._bar.disable:
      self._advance(done / count)
    elif time.monotonic() - self._printed > _QUIET_SECONDS and done < count:
      self._printed = time.monotonic()
      name = f"{self._names[self._number]} ({self._number + 1}/"
      print(f"{name}{len(self._names)}): tile {done} of {count}", flush=True)

  def _advance(self, share: float) -> None:
    before, after = self._before[self._number : self._number + 2]
    self._bar.update(before + int(share * (after - before)) - self._bar.n)

  def _tick(self) -> None:
    while not self._over.wait(1):
      with self._visible:
        self._bar.refresh()

  def __enter__(self) -> "_Progress":
    return self

  def __exit__(self, *_: object) -> None:
    self._over.set()
    self._visible.release()
    self._bar.close()


def _pixels(source: Path) -> int:
  """An image's pixels; 0 if it can't be read."""
  try:
    return math.prod(image_file.measure(source))
  except UserError:
    return 0
