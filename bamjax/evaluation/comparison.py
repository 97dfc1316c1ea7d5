"""Two networks on the same images: differences and how sure they are."""

import math
from typing import Any

import numpy as np

from bamjax.errors import UserError
from bamjax.evaluation.protocols import PROTOCOLS
from bamjax.evaluation.results import Row
from bamjax.evaluation.tables import Table

LEVEL = 0.95
SEEDS_NOTE = (
  "The interval is over images, for these two trained networks: training with"
  " another seed may change the sign of the difference (see bamjax ablate)"
)
_RESAMPLES = 10_000


def bootstrap_interval(
  differences: np.ndarray, level: float = LEVEL, seed: int = 0
) -> tuple[float, float]:
  """Confidence interval of the mean, by the percentile bootstrap.

  Args:
    differences: (N,), one an image.
    level: confidence.
    seed: of the resampling.

  Returns:
    The bounds of the central `level` of the means of 10,000 samples of N
    images drawn with replacement (Efron & Tibshirani 1993, chapter 13). With
    few images it is too narrow: it knows no image but these.
  """
  rng = np.random.default_rng(seed)
  count = len(differences)
  drawn = rng.integers(0, count, (_RESAMPLES, count))
  means = np.asarray(differences)[drawn].mean(axis=1)
  low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
  return float(low), float(high)


def compare(a: Row, b: Row) -> dict[str, Any]:
  """Differences b − a of two rows of results.

  Args:
    a: of `bamjax.evaluation.results`.
    b: of the same benchmark, scale and protocol.

  Returns:
    `a` and `b` (their sources), `benchmark`, `scale`, `protocol` and
    `folder`, the benchmark's folder; `images`,
    the difference of each image; and by the name of each score its
    `difference`, mean over the images, and `low` and `high`, the bounds of
    its 95 % confidence interval. An image with an infinite PSNR counts only
    for SSIM; its difference of PSNR is infinite, or NaN.

  Raises:
    UserError: the rows are of different images, or not scored.
  """
  for name in ("benchmark", "scale", "protocol"):
    if a[name] != b[name]:
      raise UserError(f"{name} differs: {a[name]} and {b[name]}")
  suffix = PROTOCOLS[a["protocol"]].suffix
  keys = [f"{name}_{suffix}" for name in ("psnr", "ssim")]
  images = [{image["name"]: image for image in row["images"]} for row in (a, b)]
  if images[0].keys() != images[1].keys():
    odd = sorted(images[0].keys() ^ images[1].keys())
    raise UserError(f"only one of the two has scores of {', '.join(odd)}")
  if a[keys[0]] is None:
    raise UserError(f"{a['benchmark']} has no HR images to compare by")
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
      raise UserError(f"each image of {a['benchmark']} is equal to HR")
    low, high = bootstrap_interval(differences)
    mean = float(differences.mean())
    found[key] = {"difference": mean, "low": low, "high": high}
  shared = {name: a[name] for name in ("benchmark", "scale", "protocol")}
  shared["folder"] = a.get("folder", "")
  return {
    "a": a["source"],
    "b": b["source"],
    **shared,
    **found,
    "images": rows,
  }


def _check_same(name: str, a: dict[str, Any], b: dict[str, Any]) -> None:
  """Raises UserError where bicubic's scores tell images of a name apart."""
  for key in a.keys() & b.keys():
    if key.startswith("bicubic") and not math.isclose(
      a[key], b[key], abs_tol=1e-3
    ):
      raise UserError(
        f"{name} is not the same image for the two: bicubic has"
        f" {a[key]:.4f} and {b[key]:.4f}"
      )


def table(found: dict[str, Any]) -> Table:
  """What `compare` returns, as a table."""
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
  sure = psnr["low"] > 0 or psnr["high"] < 0
  return Table(
    f"B − A ×{found['scale']} on {found['benchmark']}, protocol"
    f" {found['protocol']}",
    ["image", "PSNR dB", "SSIM"],
    [*rows, mean],
    [
      f"A: {found['a']}",
      f"B: {found['b']}",
      *([f"folder: {found['folder']}"] if found["folder"] else []),
      *(
        [f"equal to HR, and not in the mean of PSNR: {', '.join(equal)}"]
        if equal
        else []
      ),
      f"95 % confidence interval of the mean: PSNR {psnr['low']:+.3f} to"
      f" {psnr['high']:+.3f} dB, SSIM {ssim['low']:+.5f} to {ssim['high']:+.5f}"
      + ("" if sure else "; it holds 0: no difference is shown"),
      SEEDS_NOTE,
    ],
    total=True,
  )
