"""Scores of super-resolved images that any program made."""

from collections.abc import Sequence
import logging
from typing import Any

import numpy as np

from bamjax.data.sr_files import SrFiles
from bamjax.data.test_sets import Benchmark
from bamjax.data.test_sets import BenchmarkImage
from bamjax.errors import UserError
from bamjax.evaluation import results
from bamjax.evaluation import scoring
from bamjax.evaluation import sr_origin
from bamjax.evaluation.protocols import MATLAB
from bamjax.evaluation.protocols import Protocol
from bamjax.evaluation.tables import some
from bamjax.images import rgb
from bamjax.terminal import counted

_logger = logging.getLogger(__name__)


def evaluate(
  sr_files: SrFiles,
  benchmark: Benchmark,
  protocols: Sequence[Protocol] = (MATLAB,),
) -> dict[str, dict[str, Any]]:
  """Scores SR files, and bicubic upscaling, on the images of a test set.

  An image is left out with a warning if its SR file is missing, ambiguous,
  unreadable, or of another size than HR at this scale.

  Args:
    sr_files: the files and their scale.
    benchmark: the test set they were matched to.
    protocols: how to score. The files are what they are, whatever LR they were
      made from: a protocol only sets HR, luma, border, and bicubic's LR.

  Returns:
    What `scoring.evaluate` returns. Each image also has what
    `sr_origin.find_origin` returns, and each result the means of its numbers.

  Raises:
    NothingScored: no image can be used.
  """
  missing = set(sr_files.missing)
  if missing:
    _logger.warning(
      "left out: %s has no file for %d of the %d images of %s: %s",
      sr_files.folder,
      len(missing),
      len(benchmark.images),
      benchmark.name,
      some(image.name for image in sr_files.missing),
    )
  images = [image for image in benchmark.images if image not in missing]
  by_label = dict(zip(scoring.labels(images), images, strict=True))
  found = scoring.evaluate_each(
    lambda image: upscaler(sr_files, image), images, sr_files.scale, protocols
  )
  origins = {}
  for scored in next(iter(found.values()))["images"]:
    image = by_label[scored["name"]]
    _, hr = image.load()
    sr = _read(sr_files, image)
    origins[scored["name"]] = sr_origin.find_origin(sr, hr, sr_files.scale)
  numbers = [
    {name: origin[name] for name in sr_origin.NUMBERS}
    for origin in origins.values()
  ]
  absent = {image.name for image in missing}
  for result in found.values():
    for scored in result["images"]:
      scored.update(origins[scored["name"]])
    result.update(scoring.means(numbers))
    result["left_out"] = sorted({*result["left_out"], *absent})
  return found


def make_row(
  sr_files: SrFiles,
  benchmark: Benchmark,
  protocol: Protocol,
  result: dict[str, Any],
) -> results.Row:
  """A row of results.json: that of a network, without what files don't show.

  Args:
    sr_files: what was scored.
    benchmark: the images.
    protocol: how they were scored.
    result: what `evaluate` returns for this protocol.
  """
  return {
    "model": None,
    "attn": None,
    "scale": sr_files.scale,
    "depth": "",
    "normalization": None,
    "source": sr_files.source,
    "step": None,
    "self_ensemble": False,
    "path": str(sr_files.folder.resolve()),
    "tile": None,
    "folder": benchmark.folder,
    "saved": None,
    "benchmark": benchmark.name,
    "parameters": None,
    "protocol": protocol.name,
    "protocol_version": protocol.version,
    **dict.fromkeys(results.SCORES),
    **result,
    "paper": {},
  }


def in_common(
  a: results.Row, b: results.Row
) -> tuple[results.Row, results.Row]:
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


def upscaler(sr_files: SrFiles, image: BenchmarkImage) -> scoring.Upscale:
  """A function that returns an image's SR, H×W×3 uint8, for its LR.

  It raises UserError if SR is not of the size of LR times the scale.

  Raises:
    UserError: the SR file is missing, ambiguous, or can't be read.
  """
  sr = _read(sr_files, image)

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


def _read(sr_files: SrFiles, image: BenchmarkImage) -> np.ndarray:
  """The SR image, H×W×3 uint8."""
  if image in sr_files.problems:
    raise UserError(sr_files.problems[image])
  if image not in sr_files.files:
    raise UserError(f"{sr_files.folder} has no file for it")
  return rgb.read_rgb(sr_files.files[image])
