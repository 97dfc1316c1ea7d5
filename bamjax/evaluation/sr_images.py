"""Super-resolved images of any program: scores, and which HR they come from.

If the size of HR is not a multiple of the scale, protocol `matlab` crops HR and
`bam` resizes it. Both have the same size, so only the pixels show which one LR,
and then SR, was made from.
"""

from collections import Counter
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from bamjax.data.sr_files import SrFiles
from bamjax.data.test_sets import Benchmark
from bamjax.data.test_sets import BenchmarkImage
from bamjax.data.test_sets import ImageSet
from bamjax.errors import UserError
from bamjax.evaluation import scoring
from bamjax.evaluation.protocols import MATLAB
from bamjax.evaluation.protocols import Protocol
from bamjax.evaluation.protocols import PROTOCOLS
from bamjax.evaluation.scoring import LoadableImage
from bamjax.evaluation.scoring import Upscale
from bamjax.evaluation.tables import some
from bamjax.images import resize

_logger = logging.getLogger(__name__)

_DEGRADATIONS = {
  "cropped": MATLAB.degradation,
  "resized": PROTOCOLS["bam"].degradation,
}
_CLEAR = 1.0  # dB by which one LR has to match better

NUMBERS = tuple(
  f"{kind}_{name}" for kind in ("lr", "hr") for name in _DEGRADATIONS
)
HEADER = ("HR cropped", "HR resized", "made from HR")


def evaluate(
  sr_files: SrFiles,
  benchmark: Benchmark,
  protocols: Sequence[Protocol] = (MATLAB,),
) -> dict[str, dict[str, Any]]:
  """Scores SR files, and bicubic upscaling, on the images of a test set.

  An image is left out with a warning if its SR file is missing, unreadable, or
  of another size than HR at this scale.

  Args:
    sr_files: the files and their scale.
    benchmark: the test set they were matched to.
    protocols: how to score. The files are what they are, whatever LR they were
      made from: a protocol only sets HR, luma, border, and bicubic's LR.

  Returns:
    What `scoring.evaluate` returns. Each image also has what `find_origin`
    returns, and each result the means of its numbers.

  Raises:
    NothingScored: no image can be used.
  """
  warn_of_missing(sr_files.folder, sr_files.missing, benchmark)
  images = [image for image in benchmark.images if image in sr_files.files]
  found = scoring.evaluate_each(
    lambda image: upscaler(sr_files, image), images, sr_files.scale, protocols
  )
  by_label = dict(zip(scoring.labels(images), images, strict=True))
  origins = {}
  for scored in next(iter(found.values()))["images"]:
    image = by_label[scored["name"]]
    _, hr = image.load()
    sr = sr_files.read(image)
    origins[scored["name"]] = find_origin(sr, hr, sr_files.scale)
  numbers = [{n: each[n] for n in NUMBERS} for each in origins.values()]
  absent = {image.name for image in sr_files.missing}
  for result in found.values():
    for scored in result["images"]:
      scored.update(origins[scored["name"]])
    result.update(scoring.means(numbers))
    result["left_out"] = sorted({*result["left_out"], *absent})
  return found


def upscaler(sr_files: SrFiles, image: BenchmarkImage) -> Upscale:
  """A function that returns an image's SR, H×W×3 uint8, for its LR.

  It raises UserError if SR is not of the size of LR times the scale.

  Raises:
    UserError: the SR file can't be read.
  """
  sr = sr_files.read(image)

  def upscale(lr: np.ndarray) -> np.ndarray:
    height, width = (n * sr_files.scale for n in lr.shape[:2])
    if sr.shape[:2] == (height, width):
      return sr
    raise UserError(
      f"{sr_files.files[image]} is {sr.shape[1]}×{sr.shape[0]}; at"
      f" ×{sr_files.scale} it should be {width}×{height}, the size of"
      f" {image.hr} cropped or resized to a multiple of the scale"
    )

  return upscale


def warn_of_missing(
  place: str | Path, missing: Sequence[LoadableImage], benchmark: ImageSet
) -> None:
  """Warns of images of a test set, if any, that a folder has no SR file for."""
  if missing:
    _logger.warning(
      "left out: %s has no file for %d of the %d images of %s: %s",
      place,
      len(missing),
      len(benchmark.images),
      benchmark.name,
      some(image.name for image in missing),
    )


def find_origin(
  sr: np.ndarray, hr: np.ndarray | None, scale: int
) -> dict[str, Any]:
  """Whether SR was made from HR cropped or resized to a multiple of the scale.

  SR, downscaled, comes close to the LR image that it was made from. Scores
  against both HR don't settle the question: resized HR is smoother, so that SR
  may score higher against it even if made from cropped HR.

  Args:
    sr: H×W×3 uint8.
    hr: the original, uncropped, uint8; None if there is none.
    scale: upscaling factor.

  Returns:
    `made_from`: "cropped", "resized", or "unclear" if neither LR matches better
    by 1 dB; `lr_cropped`, `lr_resized`: PSNR (dB, RGB) of SR downscaled against
    the LR of either HR; `hr_cropped`, `hr_resized`: PSNR-Y (dB) of SR against
    either HR, as protocol `matlab` computes it. All are None if the size of HR
    is a multiple of the scale, which leaves one HR.
  """
  if hr is None or not any(n % scale for n in hr.shape[:2]):
    return dict.fromkeys(("made_from", *NUMBERS))
  small = resize.downscale(sr, scale)
  numbers = {}
  for name, degradation in _DEGRADATIONS.items():
    lr, target = degradation.pair(hr, None, scale)
    numbers[f"lr_{name}"] = _psnr(small, lr)
    numbers[f"hr_{name}"] = MATLAB.score(sr, target, scale)["psnr_y"]
  gap = numbers["lr_resized"] - numbers["lr_cropped"]
  made_from = "unclear"
  if abs(gap) >= _CLEAR:
    made_from = "resized" if gap > 0 else "cropped"
  return {"made_from": made_from, **numbers}


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
  """PSNR (dB) of two uint8 images over all pixels and channels."""
  error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
  return 10 * math.log10(255**2 / error) if error else math.inf


def known(images: Sequence[Mapping[str, Any]]) -> bool:
  """Whether any image of a row of results has an origin."""
  return any(image.get("made_from") for image in images)


def cells(scores: Mapping[str, Any]) -> list[str]:
  """Cells under `HEADER` for an image, or for the means."""
  values = [scores.get(name) for name in ("hr_cropped", "hr_resized")]
  texts = ["–" if value is None else f"{value:.2f} dB" for value in values]
  return [*texts, scores.get("made_from") or ""]


def notes(
  images: Sequence[Mapping[str, Any]], protocol: Protocol, scale: int
) -> Iterator[str]:
  """What the origins mean for scores under a protocol, a line for each."""
  found = [image for image in images if image.get("made_from")]
  for kind, count in Counter(image["made_from"] for image in found).items():
    means = {
      name: _mean([i[f"lr_{name}"] for i in found if i["made_from"] == kind])
      for name in _DEGRADATIONS
    }
    evidence = (
      f"downscaled, they match the LR of cropped HR at {means['cropped']} and"
      f" that of resized HR at {means['resized']}"
    )
    some = f"{count} of {len(images)} SR images"
    if kind == "unclear":
      yield f"{some} may be made from cropped or from resized HR: {evidence}"
      continue
    yield f"{some} are made from HR {kind} to a multiple of {scale}: {evidence}"
    if _DEGRADATIONS[kind] != protocol.degradation:
      yield (
        f"protocol {protocol.name} compares those with another HR, so that"
        " their scores here are not those of the network that made them"
      )


def _mean(values: Sequence[float | None]) -> str:
  finite = [v for v in values if v is not None and math.isfinite(v)]
  return f"{np.mean(finite):.1f} dB" if finite else "no finite PSNR"
