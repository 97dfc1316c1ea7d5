"""Times PSNR-Y and SSIM-Y: bamjax.metrics against NumPy and SciPy.

  python -m benchmarks.metrics_speed
  python -m benchmarks.metrics_speed --benchmark Set5 --scale 4

Scores bicubic upscaling of each image with both, in turns, --rounds times, and
prints the ratio of the medians. Does not include reading and upscaling, and
reports compilation separately. By default, the images are the photographs in
scikit-image's wheel.
"""

import argparse
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import json
import statistics
import time
from typing import Any

import jax
import numpy as np
from scipy import ndimage

from bamjax.data import sources
from bamjax.data.test_sets import find_benchmark
from bamjax.evaluation.protocols import MATLAB
from bamjax.images import resize
from benchmarks import running

# SR and HR, H×W×3 uint8.
Pair = tuple[np.ndarray, np.ndarray]

_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_GAUSSIAN = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
_GAUSSIAN /= _GAUSSIAN.sum()


def scipy_scores(
  sr: np.ndarray, hr: np.ndarray, border: int
) -> tuple[float, float]:
  """Computes PSNR-Y and SSIM-Y of two H×W×3 uint8 images, in float64.

  Like `bamjax.metrics`, it blurs separably, and four planes instead of five.
  """
  inner = slice(border, -border)
  a, b = (
    16 + x[inner, inner] @ (np.array([65.481, 128.553, 24.966]) / 255)
    for x in (sr, hr)
  )

  def blur(x):
    for axis in (0, 1):
      x = ndimage.correlate1d(x, _GAUSSIAN, axis=axis)
    return x[5:-5, 5:-5]

  mean_a, mean_b, squares, product = map(blur, (a, b, a * a + b * b, a * b))
  both = mean_a * mean_b
  means = mean_a**2 + mean_b**2
  ssim = ((2 * both + _C1) * (2 * (product - both) + _C2)) / (
    (means + _C1) * (squares - means + _C2)
  )
  return 10 * np.log10(255**2 / np.mean((a - b) ** 2)), ssim.mean()


def load(folder: str | None, scale: int) -> Iterator[Pair]:
  """Yields bicubic and HR images, H×W×3 uint8."""
  if folder:
    images = find_benchmark(folder, scale).images
  else:
    source = sources.make_source("sample", scale)
    images = [*source.val, *source.train]
  for image in images:
    lr, hr = image.load()
    lr, hr = MATLAB.degradation.pair(hr, lr, scale)
    yield resize.upscale(lr, scale), hr


def seconds(function: Callable[..., Any], pairs: Sequence[Pair]) -> float:
  """Returns the seconds to score all images once."""
  start = time.perf_counter()
  for sr, hr in pairs:
    function(sr, hr)
  return time.perf_counter() - start


def main() -> None:
  """Measures, prints and, with --output, writes JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--benchmark", help="folder of a test set; default: the sample"
  )
  parser.add_argument("--scale", type=int, default=2)
  parser.add_argument("--rounds", type=int, default=7)
  parser.add_argument("--output", help="JSON file to write")
  args = parser.parse_args()
  pairs = list(load(args.benchmark, args.scale))

  def ours(sr, hr):
    found = MATLAB.score(sr, hr, args.scale)
    return found["psnr_y"], found["ssim_y"]

  def theirs(sr, hr):
    return scipy_scores(sr, hr, args.scale)

  first = seconds(ours, pairs)
  seconds(theirs, pairs)
  scores = [np.array([f(*p) for p in pairs]) for f in (ours, theirs)]
  psnr, ssim = np.abs(scores[0] - scores[1]).max(axis=0)
  times = [
    (seconds(ours, pairs), seconds(theirs, pairs)) for _ in range(args.rounds)
  ]
  jitted, scipy = (
    statistics.median(column) for column in zip(*times, strict=True)
  )
  report = {
    "device": jax.devices()[0].device_kind,
    "images": len(pairs),
    "megapixels": sum(hr.size / 3e6 for _, hr in pairs),
    "first_pass_s": first,
    "jitted_s": jitted,
    "scipy_s": scipy,
    "ratio": scipy / jitted,
    "largest_psnr_difference_db": float(psnr),
    "largest_ssim_difference": float(ssim),
  }
  for name, value in report.items():
    print(f"{name:28} {value if isinstance(value, str) else f'{value:.6g}'}")
  if args.output:
    with open(args.output, "w", encoding="utf-8") as file:
      json.dump(report, file, indent=2)
      file.write("\n")


if __name__ == "__main__":
  running.run(main)
