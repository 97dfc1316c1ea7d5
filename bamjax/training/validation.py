"""The images that a run validates on: read once, then kept in memory."""

from collections.abc import Sequence
import hashlib
import logging
import math
from typing import NamedTuple

import jax
import numpy as np

from bamjax.data import cache
from bamjax.data.sources import ImagePair
from bamjax.data.sources import Pair
from bamjax.errors import UserError
from bamjax.evaluation.protocols import MATLAB
from bamjax.training import distributed


class Kept(NamedTuple):
  """An image in memory; LR h×w×3 and HR sh×sw×3, uint8."""

  name: str
  lr: np.ndarray
  hr: np.ndarray

  def load(self) -> Pair:
    """LR and HR."""
    return self.lr, self.hr

  def counts(self, key: str) -> bool:
    """Whether a score counts in its mean: not the PSNR of a flat image.

    Which is infinite at one step and finite at the next.
    """
    return not key.startswith("psnr") or self.hr.min() != self.hr.max()


class Validation:
  """The first few of a source's validation images.

  Each process reads its share. What cannot be read, or is too small to be
  scored, is named in a warning and left out.

  Attributes:
    share: this process's images.
    digests: `cache.digest` of all processes' images.
    names: of all processes' images.
  """

  def __init__(
    self,
    images: Sequence[ImagePair],
    scale: int,
    limit: int = 0,
    level: int = logging.WARNING,
  ):
    """Reads them.

    Args:
      images: of a source, to validate on.
      scale: upscaling factor.
      limit: how many of the first are taken; 0 is all.
      level: of logging, for what is left out.

    Raises:
      UserError: none can be used.
    """
    limit = min(limit or len(images), len(images))
    digests = np.zeros((limit, 8), np.uint8)
    self._all: list[ImagePair | None] = list(images)
    self.share = []
    for i in range(jax.process_index(), limit, jax.process_count()):
      kept = _read(images[i], scale, level)
      self._all[i] = kept and ImagePair(kept.name, kept.load)
      if kept:
        self.share.append(kept)
        found = bytes.fromhex(cache.digest(kept.load()))
        digests[i] = np.frombuffer(found, np.uint8)
    rows = distributed.gather(digests).sum(axis=0, dtype=np.uint8)
    used = np.flatnonzero(rows.any(axis=1))
    self.digests = [rows[i].tobytes().hex() for i in used]
    self.names = [images[i].name for i in used]
    self._unread = [image.name for image in images[limit:]]
    if not self.names:
      raise UserError(
        "none of the validation images can be used; see the warnings above,"
        " or give --val_dir=DIR"
      )

  def fingerprint(self) -> str:
    """What the scores depend on beside the network: names and contents."""
    rows = [*self.digests, *self.names, *self._unread]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()

  def mean(self, key: str, rows: Sequence[dict[str, float]]) -> float:
    """A mean score over all processes' images, but for infinite ones.

    Args:
      key: "psnr_y" or "ssim_y".
      rows: scores of `share`.

    Returns:
      The mean; infinite where no image counts.
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
    """All of the source's that can be used; from memory, what was read."""
    return [image for image in self._all if image]


def _read(image: ImagePair, scale: int, level: int) -> Kept | None:
  try:
    lr, hr = image.load()
    MATLAB.check_size(hr.shape, scale)
  except UserError as error:
    logging.log(level, "left out: %s: %s", image.name, error)
    return None
  kept = Kept(image.name, lr, hr)
  if not kept.counts("psnr_y"):
    logging.warning("%s is flat: it counts in no mean PSNR", image.name)
  return kept
