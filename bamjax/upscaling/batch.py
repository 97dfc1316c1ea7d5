"""Many images, one after the other; what fails is skipped."""

from collections.abc import Sequence
import logging
from pathlib import Path
import sys
import time

from jax.errors import JaxRuntimeError
from tqdm import tqdm

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
  for number, (source, target) in enumerate(jobs, 1):
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
    name = terminal.plain(source.name)
    with _Progress(f"{name} ({number}/{len(jobs)})") as progress:
      try:
        network = choose(image)
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
  """A bar of the tiles on a terminal; elsewhere a line every half minute."""

  def __init__(self, name: str):
    self._name = name
    self._printed = time.monotonic()
    self._bar = tqdm(
      desc=name,
      unit="tile",
      disable=not sys.stderr.isatty(),
      dynamic_ncols=True,
      leave=False,
    )

  def __call__(self, done: int, count: int) -> None:
    if not self._bar.disable:
      if done == 1:
        self._bar.reset(count)
      self._bar.update()
    elif time.monotonic() - self._printed > _QUIET_SECONDS and done < count:
      self._printed = time.monotonic()
      print(f"{self._name}: tile {done} of {count}", flush=True)

  def __enter__(self) -> "_Progress":
    return self

  def __exit__(self, *_: object) -> None:
    self._bar.close()
