"""From the cells' scores to differences from the control."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from bamjax.ablation.cell_costs import Cost
from bamjax.ablation.score_basis import Test
from bamjax.evaluation import comparison
from bamjax.evaluation import crossed_factors
from bamjax.evaluation.crossed_factors import Interval
from bamjax.evaluation.protocols import PROTOCOLS
from bamjax.evaluation.results import Row

# Rows of one benchmark, by backbone, attention and seed.
Scored = Mapping[tuple[str, str, int], Row]
METRICS = ("psnr", "ssim")


@dataclasses.dataclass(frozen=True)
class Measure:
  """One score of a network on a benchmark.

  Attributes:
    per_seed: the mean over the images, by seed.
    difference: from the control; None for the control itself, and if the two
      share no seed.
    table: the differences, seeds × images, that it is of.
    left_out: images with an infinite PSNR, which are not in `difference`.
  """

  per_seed: Mapping[int, float]
  difference: Interval | None = None
  table: Sequence[Sequence[float]] = ()
  left_out: Sequence[str] = ()

  @property
  def mean(self) -> float:
    """Over the seeds."""
    return float(np.mean(list(self.per_seed.values())))

  @property
  def spread(self) -> float:
    """Standard deviation (S − 1) over the seeds; NaN for one seed."""
    values = list(self.per_seed.values())
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


@dataclasses.dataclass(frozen=True)
class Line:
  """A network of a study on one benchmark.

  Attributes:
    benchmark: its name, and the degradation of its LR, if any.
    model: name of the backbone.
    attn: the attention, as the command names it.
    kind: what it is: a backbone's own attention has a name.
    steps: of its training.
    cost: its parameters and multiply-accumulates.
    seeds: that are compared with the control's, or the control's own.
    images: names of the benchmark's images.
    psnr: in dB.
    ssim: a number up to 1.
  """

  benchmark: str
  model: str
  attn: str
  kind: str
  steps: int
  cost: Cost
  seeds: Sequence[int]
  images: Sequence[str]
  psnr: Measure
  ssim: Measure

  def measure(self, metric: str) -> Measure:
    """By name: "psnr" or "ssim"."""
    return {"psnr": self.psnr, "ssim": self.ssim}[metric]


def verdict(interval: Interval | None) -> str:
  """What an interval shows, in words."""
  if interval is None:
    return "–"
  if math.isnan(interval.low):
    return "one image: no interval"
  if not interval.shown:
    return "no difference shown"
  word = "higher" if interval.mean > 0 else "lower"
  return word if interval.seeds > 1 else f"{word} with this one seed"


def analyse(
  scored: Scored,
  control: str,
  facts: Mapping[tuple[str, str], tuple[str, int, Cost]],
) -> list[Line]:
  """Compares every network with the control of its backbone.

  Args:
    scored: the rows of one benchmark.
    control: the attention to compare with.
    facts: kind of attention, steps and cost of each backbone and attention.

  Returns:
    A line for each network, grouped by backbone, the control first.

  Raises:
    UserError: two networks were scored on different images.
  """
  found = []
  for model in dict.fromkeys(model for model, _, _ in scored):
    attns = dict.fromkeys(attn for m, attn, _ in scored if m == model)
    for attn in sorted(attns, key=lambda attn: attn != control):
      own = _by_seed(scored, model, attn)
      base = {} if attn == control else _by_seed(scored, model, control)
      found.append(_line(model, attn, own, base, facts[model, attn]))
  return found


def _by_seed(scored: Scored, model: str, attn: str) -> dict[int, Row]:
  return {
    seed: row
    for (m, a, seed), row in sorted(scored.items(), key=lambda i: i[0][2])
    if (m, a) == (model, attn)
  }


def _line(
  model: str,
  attn: str,
  own: Mapping[int, Row],
  base: Mapping[int, Row],
  fact: tuple[str, int, Cost],
) -> Line:
  row = next(iter(own.values()))
  suffix = PROTOCOLS[row["protocol"]].suffix
  seeds = [seed for seed in own if seed in base]
  pairs = [comparison.compare(base[s], own[s])["images"] for s in seeds]
  kind, steps, cost = fact
  psnr, ssim = (
    _measure(f"{metric}_{suffix}", own, pairs) for metric in METRICS
  )
  return Line(
    test_name(row),
    model,
    attn,
    kind,
    steps,
    cost,
    seeds or list(own),
    [image["name"] for image in row["images"]],
    psnr,
    ssim,
  )


def _measure(
  key: str,
  own: Mapping[int, Row],
  pairs: Sequence[Sequence[Mapping[str, Any]]],
) -> Measure:
  """A score's means and its differences from the control.

  Args:
    key: "psnr_y".
    own: the network's rows, by seed.
    pairs: for each seed that the control has too, the differences of each
      image, in the same order.
  """
  per_seed = {seed: float(row[key]) for seed, row in own.items()}
  if not pairs:
    return Measure(per_seed)
  order = [image["name"] for image in pairs[0]]
  by_name = [
    {image["name"]: image[key] for image in images} for images in pairs
  ]
  table = np.array([[found[name] for name in order] for found in by_name])
  finite = np.isfinite(table).all(axis=0)
  left_out = [n for n, good in zip(order, finite, strict=True) if not good]
  table = table[:, finite]
  if not table.size:
    return Measure(per_seed, left_out=left_out)
  difference = crossed_factors.interval(table)
  return Measure(per_seed, difference, table.tolist(), left_out)


def to_dict(line: Line) -> dict[str, Any]:
  """A line as ablation.json holds it."""
  found: dict[str, Any] = {
    "benchmark": line.benchmark,
    "model": line.model,
    "attn": line.attn,
    "kind": line.kind,
    "steps": line.steps,
    **dataclasses.asdict(line.cost),
    "seeds": list(line.seeds),
    "images": list(line.images),
  }
  for metric in METRICS:
    measure = line.measure(metric)
    difference = measure.difference
    found[metric] = {
      "mean": measure.mean,
      "spread": measure.spread,
      "per_seed": {str(s): value for s, value in measure.per_seed.items()},
      "difference": difference and dataclasses.asdict(difference),
      "verdict": verdict(difference),
      "differences": [list(row) for row in measure.table],
      "left_out": list(measure.left_out),
    }
  return found


def test_name(row: Row) -> str:
  """What a row was scored on: "Set14", "Set14 with noise:15"."""
  degradation = row.get("degradation")
  return row["benchmark"] + (f" with {degradation}" if degradation else "")


def read_scored(
  cell_rows: Mapping[Path, Sequence[Row]],
  keys: Mapping[Path, tuple[str, str, int]],
  tests: Sequence[Test],
) -> dict[str, dict[tuple[str, str, int], Row]]:
  """Rows of each benchmark and degradation, by backbone, attention and seed.

  Args:
    cell_rows: rows of results of each cell.
    keys: what each cell is.
    tests: those whose rows count.
  """
  found: dict[str, dict[tuple[str, str, int], Row]] = {}
  for test in tests:
    for path, rows in cell_rows.items():
      row = test.scored_in(rows)
      if row is not None:
        found.setdefault(test_name(row), {})[keys[path]] = row
  return found
