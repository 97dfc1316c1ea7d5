"""Scores a network and bicubic upscaling on the same images."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import functools
import itertools
import logging
import math
from typing import Any
from typing import Protocol as Interface
from typing import TypeVar

import numpy as np

from bamjax import pixels
from bamjax import progress
from bamjax.errors import UserError
from bamjax.evaluation.protocols import MATLAB
from bamjax.evaluation.protocols import Protocol

_logger = logging.getLogger(__name__)

Upscale = Callable[[np.ndarray], np.ndarray]
Save = Callable[[Protocol, str, np.ndarray], None]
# Maps an image's name, LR and HR to another LR.
Degrade = Callable[[str, np.ndarray, np.ndarray], np.ndarray]


class LoadableImage(Interface):
  """An image that is read on demand, such as those of `bamjax.data`."""

  @property
  def name(self) -> str:
    """Name for tables and messages."""

  @property
  def load(self) -> Callable[[], tuple[np.ndarray | None, np.ndarray | None]]:
    """Returns LR and HR, H×W×3 uint8; at least one is not None."""


Image = TypeVar("Image", bound=LoadableImage)


class NothingScored(UserError):
  """None of the images can be used."""


def evaluate(
  upscale: Upscale,
  images: Sequence[LoadableImage],
  scale: int,
  protocols: Sequence[Protocol] = (MATLAB,),
  save: Save | None = None,
  degrade: Degrade | None = None,
) -> dict[str, dict[str, Any]]:
  """Scores a network and bicubic upscaling on the same images.

  Images that cannot be used are skipped with a warning.

  Args:
    upscale: maps H×W×3 float32 RGB in [0, 1] to sH×sW×3, for example an
      `Upscaler`.
    images: the images; one at a time is in memory. A missing LR image is made
      from HR; without HR, nothing is scored.
    scale: upscaling factor s.
    protocols: how to make LR and how to score. Protocols that make the same LR
      share the network's output.
    save: called with the protocol, the image's label and the super-resolved
      image (sH×sW×3 uint8), once per way to make LR, with the first protocol
      that uses it.
    degrade: replaces each LR that a protocol makes or takes from a file, e.g. a
      `bamjax.data.degradation.degrader.Degrader`; images without HR can't be
      used then.

  Returns:
    For each protocol's name, a dict of `psnr_y` (dB), `ssim_y`,
    `bicubic_psnr_y` and `bicubic_ssim_y`, means over the images (see `means`;
    for `ntire`, `rgb` replaces `y`); `images`, the scores of each image with
    its unique `name`; and `left_out`, the names of skipped images. Scores are
    None if there is no HR image.

  Raises:
    NothingScored: no image can be used.
  """
  return evaluate_each(
    lambda _: upscale, images, scale, protocols, save, degrade
  )


def evaluate_each(
  upscale_of: Callable[[Image], Upscale],
  images: Sequence[Image],
  scale: int,
  protocols: Sequence[Protocol] = (MATLAB,),
  save: Save | None = None,
  degrade: Degrade | None = None,
) -> dict[str, dict[str, Any]]:
  """Like `evaluate`, with a different upscaler for each image.

  Args:
    upscale_of: maps an image of `images` to its upscaler, which may also return
      uint8. If it raises UserError, the image is skipped.
    images: the images, as for `evaluate`.
    scale: upscaling factor s.
    protocols: how to make LR and how to score.
    save: called with each super-resolved image, as for `evaluate`.
    degrade: as for `evaluate`.

  Returns:
    The scores, as `evaluate` returns them.

  Raises:
    NothingScored: no image can be used.
  """
  rows: dict[str, list[dict[str, Any]]] = {p.name: [] for p in protocols}
  left_out = []
  names = labels(images)
  shown = progress.each(images, "image", names)
  for image, label in zip(shown, names, strict=True):
    try:
      lr, hr = image.load()
      change = degrade and functools.partial(degrade, image.name)
      scores, outputs = _scores(
        upscale_of(image), lr, hr, scale, protocols, change
      )
    except UserError as error:
      _logger.warning("left out: %s: %s", label, error)
      left_out.append(label)
      continue
    for name, row in scores.items():
      rows[name].append({"name": label, **row})
    if save:
      for protocol, sr in outputs:
        save(protocol, label, _in_8_bits(sr))
  if not all(rows.values()):
    raise NothingScored(
      "none of the images can be used; see the warnings above"
    )
  return {
    name: {
      **means([{k: v for k, v in r.items() if k != "name"} for r in found]),
      "images": found,
      "left_out": left_out,
    }
    for name, found in rows.items()
  }


def labels(images: Sequence[LoadableImage]) -> list[str]:
  """Returns the images' names, with numbers added to repeated ones."""
  names = [image.name for image in images]
  taken = set(names)
  found: list[str] = []
  for name in names:
    if name in found:
      numbered = (f"{name} #{i}" for i in itertools.count(2))
      name = next(n for n in numbered if n not in taken)
      taken.add(name)
    found.append(name)
  return found


def _scores(
  upscale: Upscale,
  lr_file: np.ndarray | None,
  hr_file: np.ndarray | None,
  scale: int,
  protocols: Sequence[Protocol],
  degrade: Callable[[np.ndarray, np.ndarray], np.ndarray] | None,
) -> tuple[dict[str, dict[str, Any]], list[tuple[Protocol, np.ndarray]]]:
  """Returns an image's scores by protocol, and each distinct output."""
  scores: dict[str, dict[str, Any]] = {}
  passes: dict[str, tuple[np.ndarray, np.ndarray | None, np.ndarray]] = {}
  outputs = []
  for name, image in (("LR", lr_file), ("HR", hr_file)):
    if image is not None:
      pixels.check_uint8(image, name)
  for protocol in protocols:
    degradation = protocol.degradation
    if degradation.name not in passes:
      lr, hr = lr_file, hr_file
      if hr is not None:
        lr, hr = degradation.pair(hr, lr, scale)
        lr = degrade(lr, hr) if degrade else lr
      elif degrade:
        raise UserError("there is no HR image, which degraded LR is made from")
      assert lr is not None
      sr = upscale(lr / np.float32(255))
      if not np.isfinite(sr).all():
        raise UserError("the network's output is not finite")
      pixels.check(sr, "SR")
      passes[degradation.name] = lr, hr, sr
      outputs.append((protocol, sr))
    lr, hr, sr = passes[degradation.name]
    if hr is None:
      keys = [f"{k}_{protocol.suffix}" for k in ("psnr", "ssim")]
      scores[protocol.name] = dict.fromkeys(
        [*keys, *(f"bicubic_{k}" for k in keys)]
      )
      continue
    bicubic = protocol.score(degradation.upscale(lr, scale), hr, scale)
    scores[protocol.name] = {
      **protocol.score(sr, hr, scale),
      **{f"bicubic_{key}": value for key, value in bicubic.items()},
    }
  return scores, outputs


def _in_8_bits(sr: np.ndarray) -> np.ndarray:
  if sr.dtype == np.uint8:
    return sr
  return np.floor(np.clip(sr, 0, 1) * 255 + 0.5).astype(np.uint8)


def means(rows: Sequence[Mapping[str, float | None]]) -> dict[str, Any]:
  """Averages scores over images.

  Args:
    rows: the scores of each image by name; all rows have the same names.

  Returns:
    The mean of each score over the images that have it; None if none has. An
    infinite PSNR (output equal to HR) is left out, unless all are infinite.
  """
  found = {}
  for key in rows[0]:
    values = [value for row in rows if (value := row[key]) is not None]
    values = [value for value in values if math.isfinite(value)] or values
    found[key] = float(np.mean(values)) if values else None
  return found


def mean_gain(pairs: Iterable[tuple[float | None, float | None]]) -> float:
  """Averages the gain in PSNR over the images for which both are finite.

  Args:
    pairs: PSNR of a method and of its reference, in dB, for each image.

  Returns:
    The mean of their difference, in dB; NaN if no image has both.
  """
  gains = [
    a - b
    for a, b in pairs
    if a is not None and b is not None and math.isfinite(a) and math.isfinite(b)
  ]
  return float(np.mean(gains)) if gains else math.nan
