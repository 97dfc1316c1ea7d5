"""The networks' outputs and scores on a benchmark."""

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import logging
import math
from typing import Any

import numpy as np

from bamjax import complexity
from bamjax import progress
from bamjax.data.degradation.degrader import Degrader
from bamjax.data.sr_files import SrFiles
from bamjax.data.test_sets import ImageSet
from bamjax.errors import UserError
from bamjax.evaluation import scoring
from bamjax.evaluation import sr_images
from bamjax.evaluation.protocols import MATLAB
from bamjax.inference import Upscaler
from bamjax.networks import Network
from bamjax.report import differences

_logger = logging.getLogger(__name__)

Scores = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Entry:
  """A network on the page.

  Attributes:
    network: the network.
    upscaler: runs it.
    label: its unique name on the page.
    colour: index of its colour, 0 to 5.
  """

  network: Network
  upscaler: Upscaler
  label: str
  colour: int

  @property
  def scale(self) -> int:
    """Upscaling factor."""
    return self.network.scale

  @property
  def source(self) -> str:
    """The network's file or folder, and the step of its checkpoint."""
    step = self.network.step
    return self.network.source + ("" if step is None else f", step {step:,}")

  @property
  def parameters(self) -> int:
    """Number of parameters, as the paper counts them."""
    return complexity.parameters(self.network.module, self.network.variables)

  def output(self, image: Any, lr: np.ndarray) -> np.ndarray:
    """Upscales LR, H×W×3 uint8; `image` is not used."""
    del image
    return self.upscaler(lr)


@dataclasses.dataclass(frozen=True)
class SrEntry:
  """A folder of SR images on the page, like a network.

  Attributes:
    source: the folder.
    scale: upscaling factor.
    sr_files: its files for each benchmark.
    label: its unique name on the page.
    colour: index of its colour, 0 to 5.
  """

  source: str
  scale: int
  sr_files: Sequence[SrFiles]
  label: str
  colour: int

  @property
  def parameters(self) -> None:
    """Unknown."""

  def has(self, image: Any) -> bool:
    """Whether there is a file for an image, be it usable or not."""
    return any(image in each.files for each in self.sr_files)

  def output(self, image: Any, lr: np.ndarray) -> np.ndarray:
    """Reads SR of an image, uint8; raises UserError if it doesn't fit LR."""
    files = next(each for each in self.sr_files if image in each.files)
    return sr_images.upscaler(files, image)(lr)


AnyEntry = Entry | SrEntry


@dataclasses.dataclass(frozen=True)
class ComparedImage:
  """An image and every method's output; images are H×W×3 uint8.

  Attributes:
    name: name of the image.
    lr: the low-resolution image.
    hr: the original; None if there is none.
    outputs: the outputs of bicubic upscaling, then of each network.
    scores: `psnr_y` and `ssim_y` of each output; None without HR.
    spread: how much the compared outputs differ: the range of their PSNR-Y in
      dB, or without HR the mean `differences.difference`.
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
    benchmark: name of the benchmark.
    scale: upscaling factor.
    entries: the networks.
    names: names of all scored or upscaled images.
    scores: for bicubic upscaling, then for each network, the scores of each
      image; empty lists without HR.
    shown: the images with the largest `spread`, in descending order.
    left_out: names of images that could not be used.
    notes: what to know about the entries' scores.
  """

  benchmark: str
  scale: int
  entries: Sequence[AnyEntry]
  names: list[str]
  scores: list[list[Scores]]
  shown: list[ComparedImage]
  left_out: Sequence[str] = ()
  notes: Sequence[str] = ()

  @property
  def title(self) -> str:
    """Heading on the page, "Set5 ×2"."""
    return f"{self.benchmark} ×{self.scale}"

  def equal(self) -> list[str]:
    """Images for which an output equals HR; their PSNR is not averaged."""
    per_image = zip(*self.scores, strict=True)
    return [
      name
      for name, scores in zip(self.names, per_image, strict=False)
      if any(each["psnr_y"] == math.inf for each in scores)
    ]

  def gain(self, i: int) -> float:
    """Mean gain of method i over bicubic upscaling, in dB; NaN if unknown."""
    return scoring.mean_gain(
      (ours["psnr_y"], bicubic["psnr_y"])
      for ours, bicubic in zip(self.scores[i], self.scores[0], strict=True)
    )

  def means(self) -> list[Scores]:
    """Mean scores of each method (`scoring.means`); empty without HR."""
    return [scoring.means(rows) for rows in self.scores if rows]


def run_networks(
  entries: Sequence[AnyEntry], benchmark: ImageSet, count: int
) -> Comparison:
  """Runs networks on all images of a benchmark.

  Args:
    entries: the networks, all of one scale.
    benchmark: the images. Unusable ones are skipped with a warning.
    count: maximum number of images to keep: those with the largest spread.

  Raises:
    UserError: no image can be used.
  """
  scale = entries[0].scale
  names: list[str] = []
  benchmark, left_out = _with_files(entries, benchmark)
  origins: dict[str, list[dict[str, Any]]] = {}
  shown: list[ComparedImage] = []
  scores: list[list[Scores]] = [[] for _ in range(len(entries) + 1)]
  labels = scoring.labels(benchmark.images)
  files = progress.each(benchmark.images, "image", labels)
  for file, label in zip(files, labels, strict=True):
    try:
      lr, hr = file.load()
      pair = _pair(file.name, lr, hr, scale, benchmark.degrader)
      image = _run(entries, file, label, *pair, scale)
    except UserError as error:
      _logger.warning("left out: %s: %s", label, error)
      left_out.append(label)
      continue
    names.append(label)
    for entry, sr in zip(entries, image.outputs[1:], strict=True):
      if isinstance(entry, SrEntry):
        origin = sr_images.find_origin(sr, hr, scale)
        origins.setdefault(entry.label, []).append(origin)
    for rows, found in zip(scores, image.scores or (), strict=False):
      rows.append(found)
    shown = sorted([*shown, image], key=lambda each: -each.spread)[:count]
  if not names:
    raise UserError(
      f"none of the images of {benchmark.name} can be used; see the warnings"
      " above"
    )
  notes = [
    f"{label}: {note}"
    for label, found in origins.items()
    for note in sr_images.notes(found, MATLAB, scale)
  ]
  return Comparison(
    benchmark.label, scale, entries, names, scores, shown, left_out, notes
  )


def _with_files(
  entries: Iterable[AnyEntry], benchmark: ImageSet
) -> tuple[ImageSet, list[str]]:
  """The images that each folder of SR images has a file for; others' names."""
  absent: dict[Any, None] = {}
  for entry in entries:
    if not isinstance(entry, SrEntry):
      continue
    missing = [i for i in benchmark.images if not entry.has(i)]
    absent |= dict.fromkeys(missing)
    sr_images.warn_of_missing(entry.source, missing, benchmark)
  if not absent:
    return benchmark, []
  images = [image for image in benchmark.images if image not in absent]
  names = [image.name for image in absent]
  return dataclasses.replace(benchmark, images=images), names


def _pair(
  name: str,
  lr: np.ndarray | None,
  hr: np.ndarray | None,
  scale: int,
  degrader: Degrader | None,
) -> tuple[np.ndarray, np.ndarray | None]:
  """LR, made if there is none and degraded, and HR of its size."""
  if hr is not None:
    lr, hr = MATLAB.degradation.pair(hr, lr, scale)
    if degrader:
      lr = degrader(name, lr, hr)
  elif degrader:
    raise UserError("there is no HR image, which degraded LR is made from")
  assert lr is not None
  return lr, hr


def _run(
  entries: Sequence[AnyEntry],
  file: Any,
  name: str,
  lr: np.ndarray,
  hr: np.ndarray | None,
  scale: int,
) -> ComparedImage:
  outputs = [MATLAB.degradation.upscale(lr, scale)]
  outputs += [entry.output(file, lr) for entry in entries]
  if hr is None:
    spread = float(np.mean(differences.difference(outputs)))
    return ComparedImage(name, lr, None, outputs, None, spread)
  scores = [MATLAB.score(sr, hr, scale) for sr in outputs]
  values = differences.rivals([each["psnr_y"] for each in scores])
  # Infinity minus infinity is NaN, but equal scores do not differ.
  low, high = min(values), max(values)
  spread = 0.0 if low == high else high - low
  return ComparedImage(name, lr, hr, outputs, scores, spread)
