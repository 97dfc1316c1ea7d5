"""Networks on a benchmark's images, and where on them they differ most."""

from collections.abc import Sequence
import dataclasses
import logging
import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from bamjax import metrics
from bamjax import progress
from bamjax.data.test_sets import Benchmark
from bamjax.errors import UserError
from bamjax.evaluation import scoring
from bamjax.evaluation.protocols import MATLAB
from bamjax.inference import Upscaler
from bamjax.networks import Network

CROPS = 3
_SIDES = (32, 96)  # of a crop, in HR pixels

Scores = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Entry:
  """A network of the page.

  Attributes:
    network: it.
    upscaler: of it.
    label: its name on the page, which no other has.
    colour: number of its colour.
  """

  network: Network
  upscaler: Upscaler
  label: str
  colour: int


@dataclasses.dataclass(frozen=True)
class ComparedImage:
  """An image and what was made of it; images are H×W×3 uint8.

  Attributes:
    name: of the image.
    lr: the low-resolution image.
    hr: the original, None where there is none.
    outputs: bicubic's, then each network's.
    scores: `psnr_y` and `ssim_y` of each output; None where there is no HR.
    spread: how much the networks differ (`_spread`).
  """

  name: str
  lr: np.ndarray
  hr: np.ndarray | None
  outputs: list[np.ndarray]
  scores: list[Scores] | None
  spread: float


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Networks of one scale on one benchmark.

  Attributes:
    benchmark: its name.
    scale: upscaling factor.
    entries: what was compared.
    names: of all images.
    scores: of bicubic, then of each network, the scores of each image; empty
      where there is no HR.
    shown: the images on which the networks differ most, these first.
    left_out: names of the images that could not be used.
  """

  benchmark: str
  scale: int
  entries: Sequence[Entry]
  names: list[str]
  scores: list[list[Scores]]
  shown: list[ComparedImage]
  left_out: Sequence[str] = ()

  def _rows(self) -> list[Scores]:
    """Of each image all scores, by name and number of the method."""
    return [
      {f"{k} {i}": v for i, one in enumerate(found) for k, v in one.items()}
      for found in zip(*self.scores, strict=True)
    ]

  def equal(self) -> list[str]:
    """Images that a method returns as HR is: not in its mean PSNR."""
    rows = zip(self.names, zip(*self.scores, strict=True), strict=False)
    return [
      name
      for name, found in rows
      if any(scores["psnr_y"] == math.inf for scores in found)
    ]

  def gain(self, i: int) -> float:
    """Mean gain of the i-th network over bicubic, in dB; NaN for none."""
    return scoring.mean_gain(
      (ours["psnr_y"], bicubic["psnr_y"])
      for ours, bicubic in zip(self.scores[i], self.scores[0], strict=True)
    )

  def means(self) -> list[Scores]:
    """Mean scores of bicubic and of each network (`evaluation.means`)."""
    if not (rows := self._rows()):
      return []
    found = scoring.means(rows)
    return [
      {key: found[f"{key} {i}"] for key in ("psnr_y", "ssim_y")}
      for i in range(len(self.scores))
    ]


def compare(
  entries: Sequence[Entry], benchmark: Benchmark, count: int
) -> Comparison:
  """Runs networks of one scale on all images, and keeps `count` of them.

  Args:
    entries: the networks, of one scale.
    benchmark: the images.
    count: how many to keep, at most: those on which PSNR-Y differs most between
      the networks, or from bicubic where there is one network.

  Raises:
    UserError: no image can be used.
  """
  scale = entries[0].network.scale
  names, kept, left_out = [], [], []
  scores = [[] for _ in range(len(entries) + 1)]
  labels = scoring.labels(benchmark.images)
  told = progress.each(benchmark.images, "image", labels)
  for file, label in zip(told, labels, strict=True):
    try:
      image = _run(entries, file, label, scale)
    except UserError as error:
      logging.warning("left out: %s: %s", label, error)
      left_out.append(label)
      continue
    names.append(image.name)
    for rows, found in zip(scores, image.scores or (), strict=False):
      rows.append(found)
    kept.append(image)
    kept = sorted(kept, key=lambda p: -p.spread)[:count]
  if not names:
    raise UserError(
      f"none of the images of {benchmark.name} can be used; see the warnings"
      " above"
    )
  return Comparison(
    benchmark.name, scale, entries, names, scores, kept, left_out
  )


def _run(
  entries: Sequence[Entry], file: Any, name: str, scale: int
) -> ComparedImage:
  lr, hr = file.load()
  if hr is not None:
    lr, hr = MATLAB.degradation.pair(hr, lr, scale)
  outputs = [MATLAB.degradation.upscale(lr, scale)]
  outputs += [entry.upscaler(lr) for entry in entries]
  scores = None
  if hr is not None:
    scores = [MATLAB.score(sr, hr, scale) for sr in outputs]
  return ComparedImage(name, lr, hr, outputs, scores, _spread(outputs, scores))


def _spread(outputs: list[np.ndarray], scores: list[Scores] | None) -> float:
  """Difference in PSNR-Y, or in luma levels where there is no HR."""
  rivals = slice(1, None) if len(outputs) > 2 else slice(None)
  if scores is not None:
    values = [s["psnr_y"] for s in scores[rivals]]
    # Equally infinite is equal.
    return 0.0 if max(values) == min(values) else max(values) - min(values)
  return float(np.mean(difference(outputs)))


def luma(image: np.ndarray) -> np.ndarray:
  """Y of MATLAB's YCbCr: H×W×3 uint8 → H×W float32 in [16, 235]."""
  return np.asarray(metrics.luma(jnp.asarray(image / np.float32(255))))


def difference(outputs: list[np.ndarray]) -> np.ndarray:
  """H×W levels of luma between which the networks' images lie.

  Args:
    outputs: bicubic's, which counts only where there is one network, and each
      network's.
  """
  rivals = outputs[1:] if len(outputs) > 2 else outputs
  planes = np.stack([luma(image) for image in rivals])
  return planes.max(axis=0) - planes.min(axis=0)


def crops(
  outputs: list[np.ndarray], count: int = CROPS
) -> list[tuple[int, int, int, int]]:
  """Where the networks' images differ most.

  Args:
    outputs: bicubic's and each network's, H×W×3 uint8.
    count: how many, at most.

  Returns:
    Top, left, height and width of squares that do not overlap, the largest mean
    squared difference in luma first. Their side is a quarter of the image's
    shorter one, within `_SIDES`.
  """
  squares = difference(outputs).astype(np.float64) ** 2
  side = int(np.clip(min(squares.shape) // 4, *_SIDES))
  height, width = (min(side, n) for n in squares.shape)
  sums = np.pad(squares, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
  windows = (
    sums[height:, width:]
    - sums[:-height, width:]
    - sums[height:, :-width]
    + sums[:-height, :-width]
  )
  found = []
  while len(found) < count and np.any(np.isfinite(windows)):
    top, left = np.unravel_index(np.argmax(windows), windows.shape)
    found.append((int(top), int(left), height, width))
    above, before = max(top - height + 1, 0), max(left - width + 1, 0)
    windows[above : top + height, before : left + width] = -np.inf
  return found
