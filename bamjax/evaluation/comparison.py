"""Compares two networks on the same images, with confidence intervals."""

from collections.abc import Mapping
import logging
import math
from typing import Any

import numpy as np

from bamjax.errors import UserError
from bamjax.evaluation import crossed_factors
from bamjax.evaluation.protocols import PROTOCOLS
from bamjax.evaluation.results import is_sr
from bamjax.evaluation.results import Row
from bamjax.evaluation.tables import some
from bamjax.evaluation.tables import Table
from bamjax.terminal import counted

_logger = logging.getLogger(__name__)

SEEDS_NOTE = (
  "The interval is over images only: another training of a network may change"
  " the sign of the difference (see bamjax ablate)"
)
_ALIKE = ("benchmark", "scale", "degradation", "protocol")


def compare(a: Row, b: Row) -> dict[str, Any]:
  """Computes the differences b − a of two rows of results.

  Args:
    a: a row of `bamjax.evaluation.results`.
    b: a row of the same benchmark, scale and protocol. If either is of SR
      images by any program, only the images that both have are compared.

  Returns:
    A dict of `a` and `b` (their sources), `benchmark`, `scale`, `degradation`,
    `protocol` and `folder` (of the benchmark); `images`, the difference of each
    image; and for the name of each score a dict of `difference`, the mean over
    the images, and `low` and `high`, the bounds of its 95 % confidence
    interval, NaN for a single image. Images with an infinite PSNR count only
    for SSIM; their difference in PSNR is infinite or NaN.

  Raises:
    UserError: the rows are of different images, or have no scores.
  """
  for name in _ALIKE:
    if a.get(name) != b.get(name):
      raise UserError(f"the {name} differs: {a.get(name)} and {b.get(name)}")
  if is_sr(a) or is_sr(b):
    a, b = _in_common(a, b)
  suffix = PROTOCOLS[a["protocol"]].suffix
  keys = [f"{name}_{suffix}" for name in ("psnr", "ssim")]
  images = [{image["name"]: image for image in row["images"]} for row in (a, b)]
  if images[0].keys() != images[1].keys():
    odd = sorted(images[0].keys() ^ images[1].keys())
    raise UserError(f"only one of the two has scores of {', '.join(odd)}")
  if a[keys[0]] is None:
    raise UserError(f"{a['benchmark']} has no HR images to score against")
  for name, first in images[0].items():
    _check_same(name, first, images[1][name])
  rows = [
    {"name": name, **{key: images[1][name][key] - first[key] for key in keys}}
    for name, first in images[0].items()
  ]
  found = {}
  for key in keys:
    differences = np.array([row[key] for row in rows])
    differences = differences[np.isfinite(differences)]
    if not differences.size:
      raise UserError(
        f"nothing to compare: on {a['benchmark']}, the outputs equal HR"
      )
    bounds = crossed_factors.interval(differences[None])
    found[key] = {
      "difference": bounds.mean,
      "low": bounds.low,
      "high": bounds.high,
    }
  shared = {name: a.get(name) for name in _ALIKE}
  shared["folder"] = a.get("folder", "")
  return {
    "a": a["source"],
    "b": b["source"],
    **shared,
    **found,
    "images": rows,
  }


def _in_common(a: Row, b: Row) -> tuple[Row, Row]:
  """Two rows with the images that both have, for a comparison.

  A folder of SR images may hold a part of a test set. The means are still those
  of all images of each row. A warning counts the images that only one row has.

  Raises:
    UserError: they have no image in common.
  """
  names = [{image["name"] for image in row["images"]} for row in (a, b)]
  shared = names[0] & names[1]
  if not shared:
    raise UserError(
      f"{a['source']} and {b['source']} have no image of {a['benchmark']} in"
      " common"
    )
  if odd := names[0] ^ names[1]:
    _logger.warning(
      "compared on %s of %s, which both have; left out: %s",
      counted(len(shared), "image"),
      a["benchmark"],
      some(sorted(odd)),
    )
  first, second = (
    {**row, "images": [i for i in row["images"] if i["name"] in shared]}
    for row in (a, b)
  )
  return first, second


def _check_same(name: str, a: dict[str, Any], b: dict[str, Any]) -> None:
  """Raises UserError if the scores of bicubic upscaling differ."""
  for key in a.keys() & b.keys():
    if key.startswith("bicubic") and not math.isclose(
      a[key], b[key], abs_tol=1e-3
    ):
      raise UserError(
        f"{name} is a different image in the two results: bicubic upscaling"
        f" scores {a[key]:.4f} and {b[key]:.4f}"
      )


def table(found: dict[str, Any]) -> Table:
  """Formats what `compare` returns."""
  suffix = PROTOCOLS[found["protocol"]].suffix
  psnr, ssim = (found[f"{name}_{suffix}"] for name in ("psnr", "ssim"))
  rows = [
    [
      image["name"],
      f"{image[f'psnr_{suffix}']:+.3f}".replace("+nan", "–"),
      f"{image[f'ssim_{suffix}']:+.5f}",
    ]
    for image in found["images"]
  ]
  equal = [
    image["name"]
    for image in found["images"]
    if not math.isfinite(image[f"psnr_{suffix}"])
  ]
  mean = [f"mean of {len(rows)}"]
  mean += [f"{psnr['difference']:+.3f}", f"{ssim['difference']:+.5f}"]
  degradation = f" with {d}" if (d := found.get("degradation")) else ""
  return Table(
    f"B − A ×{found['scale']} on {found['benchmark']}{degradation}, protocol"
    f" {found['protocol']}",
    ["image", "PSNR dB", "SSIM"],
    [*rows, mean],
    [
      f"A: {found['a']}",
      f"B: {found['b']}",
      *([f"folder: {found['folder']}"] if found["folder"] else []),
      *(
        [f"equal to HR and left out of mean PSNR: {', '.join(equal)}"]
        if equal
        else []
      ),
      *_interval(psnr, ssim),
    ],
    total=True,
  )


def _interval(
  psnr: Mapping[str, float], ssim: Mapping[str, float]
) -> list[str]:
  if math.isnan(psnr["low"]):
    return ["a single image has no confidence interval"]
  significant = psnr["low"] > 0 or psnr["high"] < 0
  return [
    f"95 % confidence interval of the mean: PSNR {psnr['low']:+.3f} to"
    f" {psnr['high']:+.3f} dB, SSIM {ssim['low']:+.5f} to {ssim['high']:+.5f}"
    + ("" if significant else ", which contains 0: not significant"),
    SEEDS_NOTE,
  ]
