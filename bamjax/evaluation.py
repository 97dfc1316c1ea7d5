"""Scores of networks on pictures, beside those of bicubic upscaling."""

from collections.abc import Callable
from collections.abc import Sequence
import logging
import sys
from typing import Any

import numpy as np
from tqdm import tqdm

from bamjax.errors import UserError
from bamjax.protocols import MATLAB
from bamjax.protocols import Protocol

Upscale = Callable[[np.ndarray], np.ndarray]


def evaluate(
  upscale: Upscale,
  pictures: Sequence,
  scale: int,
  protocols: Sequence[Protocol] = (MATLAB,),
  save: Callable[[Protocol, str, np.ndarray], None] | None = None,
) -> dict[str, dict[str, Any]]:
  """Scores a network and bicubic upscaling on the same pictures.

  A picture that cannot be read is named in a warning and left out.

  Args:
    upscale: maps float32 RGB in [0, 1], H×W×3, to sH×sW×3 (`Upscaler`).
    pictures: have a `name` and a `load()` that returns LR and HR, uint8 (of
      `bamjax.data`); one is in memory at a time. Where LR is None it is made;
      where HR is None, nothing is scored.
    scale: upscaling factor s.
    protocols: how to make LR and to score. Those that make the same LR share
      the network's pass.
    save: called with each super-resolved picture, uint8, and its name, once for
      each way to make LR, with the first protocol that has it.

  Returns:
    For each protocol, by name: `psnr_y`, `ssim_y`, `bicubic_psnr_y`,
    `bicubic_ssim_y` (means over the pictures; the `ntire` protocol has `rgb`
    for `y`), and `images`, a row each with its `name`. Scores are None where
    there is no HR.

  Raises:
    UserError: no picture can be read.
  """
  rows = {protocol.name: [] for protocol in protocols}
  bar = tqdm(
    pictures, unit="picture", disable=not sys.stderr.isatty(), leave=False
  )
  for picture in bar:
    bar.set_postfix_str(picture.name)
    try:
      lr, hr = picture.load()
      found, outputs = _scores(upscale, lr, hr, scale, protocols)
    except UserError as error:
      logging.warning("left out: %s: %s", picture.name, error)
      continue
    for name, scores in found.items():
      rows[name].append({"name": picture.name, **scores})
    for protocol, sr in outputs if save else ():
      sr = np.floor(sr * 255 + 0.5).astype(np.uint8)
      save(protocol, picture.name, sr)
  if not all(rows.values()):
    raise UserError("none of the pictures can be used; see the warnings above")
  return {
    name: {
      **_means([{k: v for k, v in r.items() if k != "name"} for r in found]),
      "images": found,
    }
    for name, found in rows.items()
  }


def _scores(upscale, lr_file, hr_file, scale, protocols):
  """Scores of one picture by protocol, and SR by the first that made it."""
  found, passes, outputs = {}, {}, []
  for protocol in protocols:
    degradation = protocol.degradation
    if degradation.name not in passes:
      lr, hr = lr_file, None
      if hr_file is not None:
        lr, hr = degradation.pair(hr_file, lr_file, scale)
      sr = upscale(lr / np.float32(255))
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


def _means(rows: list[dict[str, float | None]]) -> dict[str, float | None]:
  """Means by key over the rows that have a value; None where none has."""
  values = {
    key: [row[key] for row in rows if row[key] is not None] for key in rows[0]
  }
  return {k: float(np.mean(v)) if v else None for k, v in values.items()}
