"""Scores of networks on images, beside those of bicubic upscaling."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import itertools
import logging
import math
from typing import Any

import numpy as np

from bamjax import progress
from bamjax.errors import UserError
from bamjax.evaluation.protocols import MATLAB
from bamjax.evaluation.protocols import Protocol

Upscale = Callable[[np.ndarray], np.ndarray]


class NothingScored(UserError):
  """None of the images can be used."""


def evaluate(
  upscale: Upscale,
  images: Sequence,
  scale: int,
  protocols: Sequence[Protocol] = (MATLAB,),
  save: Callable[[Protocol, str, np.ndarray], None] | None = None,
) -> dict[str, dict[str, Any]]:
  """Scores a network and bicubic upscaling on the same images.

  An image that cannot be used is named in a warning and left out. Where a
  method returns HR itself, its PSNR is infinite, and not in its mean (`means`).

  Args:
    upscale: maps float32 RGB in [0, 1], H×W×3, to sH×sW×3 (`Upscaler`).
    images: have a `name` and a `load()` that returns LR and HR, uint8 (of
      `bamjax.data`); one is in memory at a time. Where LR is None it is made;
      where HR is None, nothing is scored.
    scale: upscaling factor s.
    protocols: how to make LR and to score. Those that make the same LR share
      the network's pass.
    save: called with each super-resolved image, uint8, and its name, once for
      each way to make LR, with the first protocol that has it.

  Returns:
    For each protocol, by name: `psnr_y`, `ssim_y`, `bicubic_psnr_y`,
    `bicubic_ssim_y` (means over the images; the `ntire` protocol has `rgb`
    for `y`), `images`, a row each with its `name`, which no other has, and
    `left_out`, the names of those left out. Scores are None where there is no
    HR.

  Raises:
    NothingScored: no image can be used.
  """
  return evaluate_each(lambda _: upscale, images, scale, protocols, save)


def evaluate_each(
  upscale_of: Callable[[Any], Upscale],
  images: Sequence,
  scale: int,
  protocols: Sequence[Protocol] = (MATLAB,),
  save: Callable[[Protocol, str, np.ndarray], None] | None = None,
) -> dict[str, dict[str, Any]]:
  """Like `evaluate`, with an upscaler for each image.

  Args:
    upscale_of: maps an image of `images` to its upscaler, which may also return
      uint8. If it raises UserError, the image is left out.
    images: as for `evaluate`, as are the other arguments, what is returned, and
      what is raised.
    scale: upscaling factor s.
    protocols: how to make LR and to score.
    save: called with each super-resolved image.
  """
  rows = {protocol.name: [] for protocol in protocols}
  left_out = []
  names = labels(images)
  told = progress.each(images, "image", names)
  for image, label in zip(told, names, strict=True):
    try:
      lr, hr = image.load()
      found, outputs = _scores(upscale_of(image), lr, hr, scale, protocols)
    except UserError as error:
      logging.warning("left out: %s: %s", label, error)
      left_out.append(label)
      continue
    for name, scores in found.items():
      rows[name].append({"name": label, **scores})
    for protocol, sr in outputs if save else ():
      sr = np.floor(sr * 255 + 0.5).astype(np.uint8)
      save(protocol, label, sr)
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


def labels(images: Sequence) -> list[str]:
  """The images' names, numbered where several share one."""
  names = [image.name for image in images]
  taken, found = set(names), []
  for name in names:
    if name in found:
      numbered = (f"{name} #{i}" for i in itertools.count(2))
      name = next(n for n in numbered if n not in taken)
      taken.add(name)
    found.append(name)
  return found


def _scores(upscale, lr_file, hr_file, scale, protocols):
  """Scores of one image by protocol, and SR by the first that made it."""
  found, passes, outputs = {}, {}, []
  for protocol in protocols:
    degradation = protocol.degradation
    if degradation.name not in passes:
      lr, hr = lr_file, None
      if hr_file is not None:
        lr, hr = degradation.pair(hr_file, lr_file, scale)
      sr = upscale(lr / np.float32(255))
      if not np.isfinite(sr).all():
        raise UserError("what the network returns is not finite")
      passes[degradation.name] = lr, hr, sr
      outputs.append((protocol, sr))
    lr, hr, sr = passes[degradation.name]
    if hr is None:
      keys = [f"{k}_{protocol.suffix}" for k in ("psnr", "ssim")]
      found[protocol.name] = dict.fromkeys(
        [*keys, *(f"bicubic_{k}" for k in keys)]
      )
      continue
    bicubic = protocol.score(degradation.upscale(lr, scale), hr, scale)
    found[protocol.name] = {
      **protocol.score(sr, hr, scale),
      **{f"bicubic_{key}": value for key, value in bicubic.items()},
    }
  return found, outputs


def means(rows: Sequence[Mapping[str, float | None]]) -> dict[str, Any]:
  """Mean scores over images.

  Args:
    rows: the scores of each image, of several methods, by name.

  Returns:
    The means by name, over the rows that have a value; None where none has.
    An image that a method returns as HR is, with an infinite PSNR, is not in
    that method's mean PSNR, unless all are so.
  """
  found = {}
  for key in rows[0]:
    values = [row[key] for row in rows if row[key] is not None]
    values = [value for value in values if math.isfinite(value)] or values
    found[key] = float(np.mean(values)) if values else None
  return found


def mean_gain(pairs: Iterable[tuple[float | None, float | None]]) -> float:
  """Mean difference of two PSNR over the images where both are finite.

  Args:
    pairs: PSNR of a method and of what it is compared with, of each image.

  Returns:
    The mean, in dB; NaN where no image has both.
  """
  gains = [
    a - b
    for a, b in pairs
    if None not in (a, b) and math.isfinite(a) and math.isfinite(b)
  ]
  return float(np.mean(gains)) if gains else math.nan
