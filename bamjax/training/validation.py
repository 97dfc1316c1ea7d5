"""The pictures that a run validates on: read once, then kept in memory."""

from collections.abc import Sequence
import hashlib
import logging
import math
from typing import NamedTuple

import jax
import numpy as np

from bamjax.data import cache
from bamjax.data.sources import Pair
from bamjax.data.sources import Picture
from bamjax.errors import UserError
from bamjax.evaluation.protocols import MATLAB
from bamjax.training import distributed


class Kept(NamedTuple):
  """A picture in memory; LR h×w×3 and HR sh×sw×3, uint8."""

  name: str
  lr: np.ndarray
  hr: np.ndarray

  def load(self) -> Pair:
    """LR and HR."""
    return self.lr, self.hr

  def counts(self, key: str) -> bool:
    """Whether a score counts in its mean: not the PSNR of a flat picture.

    Which is infinite at one step and finite at the next.
    """
    return not key.startswith("psnr") or self.hr.min() != self.hr.max()


class Validation:
  """The first few of a source's validation pictures.

  Each process reads its share. What cannot be read, or is too small to be
  scored, is named in a warning and left out.

  Attributes:
    share: this process's pictures.
    digests: `cache.digest` of all processes' pictures.
    names: of all processes' pictures.
  """

  def __init__(
    self,
    pictures: Sequence[Picture],
    scale: int,
    limit: int = 0,
    level: int = logging.WARNING,
  ):
    """Reads them.

    Args:
      pictures: of a source, to validate on.
      scale: upscaling factor.
      limit: how many of the first are taken; 0 is all.
      level: of logging, for what is left out.

    Raises:
      UserError: none can be used.
    """
    limit = min(limit or len(pictures), len(pictures))
    digests = np.zeros((limit, 8), np.uint8)
    self._all: list[Picture | None] = list(pictures)
    self.share = []
    for i in range(jax.process_index(), limit, jax.process_count()):
      kept = _read(pictures[i], scale, level)
      self._all[i] = kept and Picture(kept.name, kept.load)
      if kept:
        self.share.append(kept)
        found = bytes.fromhex(cache.digest(kept.load()))
        digests[i] = np.frombuffer(found, np.uint8)
    rows = distributed.gather(digests).sum(axis=0, dtype=np.uint8)
    used = np.flatnonzero(rows.any(axis=1))
    self.digests = [rows[i].tobytes().hex() for i in used]
    self.names = [pictures[i].name for i in used]
    self._unread = [picture.name for picture in pictures[limit:]]
    if not self.names:
      raise UserError(
        "none of the validation pictures can be used; see the warnings above,"
        " or give --val_dir=DIR"
      )

  def fingerprint(self) -> str:
    """What the scores depend on beside the network: names and contents."""
    rows = [*self.digests, *self.names, *self._unread]
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()

  def mean(self, key: str, rows: Sequence[dict[str, float]]) -> float:
    """A mean score over all processes' pictures, but for infinite ones.

    Args:
      key: "psnr_y" or "ssim_y".
      rows: scores of `share`.

    Returns:
      The mean; infinite where no picture counts.
    """
    values = [
      row[key]
      for row, kept in zip(rows, self.share, strict=True)
      if kept.counts(key) and math.isfinite(row[key])
    ]
    sums = np.array([sum(values), len(values)], float)
    total, count = distributed.gather(sums).sum(axis=0)
    return float(total / count) if count else math.inf

  def all(self) -> list[Picture]:
    """All of the source's that can be used; from memory, what was read."""
    return [picture for picture in self._all if picture]


def _read(picture: Picture, scale: int, level: int) -> Kept | None:
  try:
    lr, hr = picture.load()
    MATLAB.check_size(hr.shape, scale)
  except UserError as error:
    logging.log(level, "left out: %s: %s", picture.name, error)
    return None
  kept = Kept(picture.name, lr, hr)
  if not kept.counts("psnr_y"):
    logging.warning("%s is flat: it counts in no mean PSNR", picture.name)
  return kept
