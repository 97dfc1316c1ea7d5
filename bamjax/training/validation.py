"""Validation images, read once and kept in memory."""

from collections.abc import Sequence
import hashlib
import logging
import math
from typing import NamedTuple

import jax
import numpy as np

from bamjax.data import cache
from bamjax.data.degradation.degrader import Degrader
from bamjax.data.sources import ImagePair
from bamjax.data.sources import Pair
from bamjax.errors import UserError
from bamjax.evaluation.protocols import MATLAB
from bamjax.training import distributed

_logger = logging.getLogger(__name__)


class Kept(NamedTuple):
  """An image in memory: LR, h×w×3, and HR, sh×sw×3, uint8."""

  name: str
  lr: np.ndarray
  hr: np.ndarray

  def load(self) -> Pair:
    """Returns LR and HR."""
    return self.lr, self.hr

  def counts(self, key: str) -> bool:
    """Whether a score counts in its mean.

    The PSNR of an image of one color does not: it may be infinite at one step
    and finite at the next.
    """
    return not key.startswith("psnr") or self.hr.min() != self.hr.max()


class Validation:
  """The first few validation images of a source.

  Each process reads its share. Images that cannot be read or are too small to
  be scored are skipped with a warning.

  Attributes:
    share: this process's images.
    digests: `cache.digest` of the images of all processes.
    names: names of the images of all processes.
  """

  def __init__(
    self,
    images: Sequence[ImagePair],
    scale: int,
    limit: int = 0,
    level: int = logging.WARNING,
    degrader: Degrader | None = None,
  ):
    """Reads the images.

    Args:
      images: a source's validation images.
      scale: upscaling factor.
      limit: number of images to use; 0 uses all.
      level: logging level of messages about skipped images.
      degrader: degrades LR, if not None.

    Raises:
      UserError: no image can be used, or another process reads other pixels
        than process 0.
    """
    limit = min(limit or len(images), len(images))
    digests = np.zeros((limit, 8), np.uint8)
    if degrader:
      images = [_degraded(image, degrader) for image in images]
    self._all: list[ImagePair | None] = list(images)
    self.share: list[Kept] = []
    share = range(jax.process_index(), limit, jax.process_count())
    # Process 0 also reads the others' images, to compare them.
    for i in range(limit) if distributed.is_primary() else share:
      kept = _read(images[i], scale, level)
      self._all[i] = kept and ImagePair(kept.name, kept.load)
      if kept:
        if i in share:
          self.share.append(kept)
        content = bytes.fromhex(cache.digest(kept.load()))
        digests[i] = np.frombuffer(content, np.uint8)
    rows = _compared(distributed.gather(digests), images[:limit])
    used = np.flatnonzero(rows.any(axis=1)).tolist()
    self.digests = [rows[i].tobytes().hex() for i in used]
    self.names = [images[i].name for i in used]
    self._unread = [image.name for image in images[limit:]]
    if not self.names:
      raise UserError(
        "none of the validation images can be used; see the warnings above,"
        " or use --val_dir=DIR"
      )

  def fingerprint(self) -> str:
    """Returns a SHA-256 hash of the images' names and contents."""
    rows = [*self.digests, *self.names, *self._unread]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()

  def mean(self, key: str, rows: Sequence[dict[str, float]]) -> float:
    """Returns the mean of the finite scores of all processes' images.

    Args:
      key: "psnr_y" or "ssim_y".
      rows: the scores of each image of `share`.

    Returns:
      The mean (PSNR in dB); infinite if no image counts.
    """
    values = [
      row[key]
      for row, kept in zip(rows, self.share, strict=True)
      if kept.counts(key) and math.isfinite(row[key])
    ]
    sums = np.array([sum(values), len(values)], float)
    total, count = distributed.gather(sums).sum(axis=0)
    return float(total / count) if count else math.inf

  def all(self) -> list[ImagePair]:
    """Returns all usable images of the source, also those beyond `limit`."""
    return [image for image in self._all if image]


def _compared(rows: np.ndarray, images: Sequence[ImagePair]) -> np.ndarray:
  """Returns process 0's digests if those of the others' shares are equal."""
  for process in range(1, len(rows)):
    for i in range(process, len(images), len(rows)):
      if not np.array_equal(rows[process][i], rows[0][i]):
        raise UserError(
          "the processes do not train the same run: the validation image"
          f" {images[i].name} is another one on process {process} than on"
          " process 0. Start all of them with the same flags and images"
        )
  return rows[0]


def _degraded(image: ImagePair, degrader: Degrader) -> ImagePair:
  def load() -> Pair:
    lr, hr = image.load()
    return degrader(image.name, lr, hr), hr

  return ImagePair(image.name, load, image.stamp)


def _read(image: ImagePair, scale: int, level: int) -> Kept | None:
  try:
    lr, hr = image.load()
    MATLAB.check_size(hr.shape, scale)
  except UserError as error:
    _logger.log(level, "skipped: %s: %s", image.name, error)
    return None
  kept = Kept(image.name, lr, hr)
  if not kept.counts("psnr_y"):
    _logger.warning(
      "%s has a single color: excluded from the mean PSNR", image.name
    )
  return kept
