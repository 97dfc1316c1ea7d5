"""Estimates how long cells take, from recorded times or from operations."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math
import os
from pathlib import Path
import shutil
import statistics
from typing import NamedTuple

from PIL import Image

from bamjax.ablation import cell_states
from bamjax.ablation.cell_costs import Cost
from bamjax.ablation.cell_costs import HEIGHT
from bamjax.ablation.cell_costs import WIDTH
from bamjax.ablation.cells import Cell
from bamjax.ablation.cells import Study
from bamjax.data.test_sets import find_benchmark
from bamjax.images import rgb
from bamjax.runs import experiment
from bamjax.runs.checkpoints import steps_on_disk
from bamjax.runs.recipe import Recipe
from bamjax.terminal import counted

# Multiply-accumulates a second, at least and at most: of a core of a CPU (PAN
# and IMDN train at 43 to 82 G on each of two cores with AMX, by the table in
# docs/performance.md; narrow networks and older cores are slower), and of a GPU
# (PAN at 8 to 9 T on an H200, docs/gpu.md).
_CORE = 5e9, 100e9
_GPU = 0.3e12, 20e12
# Seconds to start a cell and to compile its training step; and to compile for
# another size of images, at least and at most (38 and 6 s for IMDN, by
# docs/performance.md).
_START = 10, 120
_SIZE = 0.2, 8
# How far apart networks are by their multiply-accumulates.
_FACTOR = 2
# DIV2K's validation images: how many, and a usual size.
_DIV2K = 100, (2040, 1404)

Size = tuple[int, int]


class Span(NamedTuple):
  """Seconds, at least and at most."""

  low: float
  high: float

  def text(self) -> str:
    """ "about 4 minutes", "2 to 9 minutes", "40 s to 3 minutes"."""
    low, high = map(_duration, self)
    if low == high:
      return f"about {high}" if self.high else "0 s"
    number, _, unit = low.partition(" ")
    return f"{number if unit == high.partition(' ')[2] else low} to {high}"


def _duration(seconds: float) -> str:
  """In the largest unit of which there are two or more."""
  for unit, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
    if seconds >= 2 * unit:
      return f"{seconds / unit:.0f} {name}"
  return f"{seconds:.0f} s"


@dataclasses.dataclass(frozen=True)
class _Images:
  """Images that a cell upscales: their LR pixels, and number of sizes."""

  pixels: float
  sizes: int


class Estimator:
  """Estimates what is left of a study's cells."""

  def __init__(
    self,
    study: Study,
    cells: Sequence[Cell],
    costs: Mapping[tuple[str, str], Cost],
  ):
    """Reads sizes of images, and the times that finished cells have noted.

    Args:
      study: the study.
      cells: all of its cells.
      costs: of each backbone with each attention.
    """
    self._study = study
    self._costs = costs
    self._validation = _validation(cells[0].config)
    self._tests = {
      folder: _benchmark(folder, study.scale) for folder in study.benchmarks
    }
    self._rates: dict[tuple[str, str], list[float]] = {}
    for cell in cells:
      if cell_states.state(study, cell) == "finished":
        notes = cell_states.read_object(cell.folder / cell_states.NOTES)
        times = [
          cell_states.positive(notes.get(name))
          for name in ("train_seconds", "score_seconds")
        ]
        if times[0]:
          rate = sum(filter(None, times)) / self._work(cell)
          self._rates.setdefault(cell.network, []).append(rate)

  @property
  def recorded(self) -> int:
    """Number of finished cells that noted their times."""
    return sum(map(len, self._rates.values()))

  def left(self, cell: Cell, state: str) -> Span:
    """The time of what is left of a cell.

    Args:
      cell: the cell.
      state: as `cell_states.state` returns it.
    """
    if state == "finished":
      return Span(0, 0)
    share = 0.0
    if state != "trained":
      done = max(steps_on_disk(cell.folder), default=0)
      share = max(1 - done / cell.config.steps, 0.0)
    work = self._work(cell, share)
    if own := self._rates.get(cell.network):
      return Span(*(2 * [statistics.median(own) * work]))
    if rates := [rate for found in self._rates.values() for rate in found]:
      low, high = min(rates) / _FACTOR, max(rates) * _FACTOR
      return Span(low * work, high * work)
    slow, fast = _speed()
    sizes = self._validation.sizes + sum(t.sizes for t in self._tests.values())
    low, high = (a + b * sizes for a, b in zip(_START, _SIZE, strict=True))
    return Span(low + work / fast, high + work / slow)

  def _work(self, cell: Cell, share: float = 1.0) -> float:
    """Multiply-accumulates: a share of the training, and the scores."""
    config, cost = cell.config, self._costs[cell.network]
    pixel = cost.macs / (HEIGHT * WIDTH)
    times = math.ceil(config.steps / config.eval_every)
    times *= 2 if config.optim.ema_decay else 1
    validated = self._validation.pixels * (share * times + 1)
    tested = sum(test.pixels for test in self._tests.values())
    tested *= len(self._study.degradations)
    return share * cost.training_macs + pixel * (validated + tested)

  def how(self) -> str:
    """What the estimates rest on, and how sure they are."""
    if self._rates:
      count = counted(self.recorded, "finished cell")
      return (
        f"time: by the times of {count}, for training,"
        " scoring and compilation; of networks that have none, by their"
        f" multiply-accumulates, {_FACTOR} times less to {_FACTOR} times more"
      )
    slow, fast = _speed()
    return (
      "time: a guess from multiply-accumulates, as no cell is finished yet: for"
      f" training and scoring at {slow / 1e9:,.0f} to {fast / 1e9:,.0f} G a"
      f" second, and {_START[0]} to {_START[1]} s to start and compile, and"
      f" {_SIZE[0]} to {_SIZE[1]} s for each size of images; after the first"
      " cell it is an estimate"
    )


def _speed() -> tuple[float, float]:
  """Multiply-accumulates a second of this machine, at least and at most."""
  if shutil.which("nvidia-smi"):
    return _GPU
  cores = (
    len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
  )
  return _CORE[0] * cores, _CORE[1] * cores


def _benchmark(folder: str, scale: int) -> _Images:
  images = find_benchmark(folder, scale).images
  return _images((image.hr for image in images), len(images), scale)


def _validation(config: Recipe) -> _Images:
  """The images that a cell is validated on."""
  data = config.data
  limit = data.max_val_images
  if data.source == "folder":
    count = len(experiment.make_source(config).val)
    paths = rgb.list_images(data.val_dir or data.data_dir)
    return _images(paths, min(limit or count, count), config.scale)
  count, (width, height) = _DIV2K if data.source == "div2k" else (2, (512, 512))
  count = min(limit or count, count)
  return _Images(count * width * height / config.scale**2, count)


def _images(paths: Iterable[Path | None], count: int, scale: int) -> _Images:
  """Images of the usual size of some HR files; unreadable ones are left out."""
  sizes = [size for path in paths if path and (size := _size(path))]
  if not sizes:
    return _Images(0, 0)
  mean = statistics.mean(width * height for width, height in sizes)
  return _Images(count * mean / scale**2, min(len(set(sizes)), count))


def _size(path: Path) -> Size | None:
  try:
    with Image.open(path) as image:
      return image.size
  except Exception:
    return None
