"""Simulates how often a 95 % interval covers the true mean difference.

  python -m benchmarks.interval_coverage
  python -m benchmarks.interval_coverage --trials=20000 --seeds=3,5

Draws tables of seeds × images in which the seeds, the images, or the noise of
single results dominate, or all count; and with skewed effects of the seeds, as
an exponential distribution has them. Prints the share of intervals that cover
the true mean, and their mean width relative to the interval of someone who
knows the mean's standard deviation.
"""

import argparse
from typing import NamedTuple

import numpy as np

from bamjax.evaluation import crossed_factors
from bamjax.evaluation.tables import Table

TRUTH = 0.02


class Kind(NamedTuple):
  """Standard deviations of the effects, and whether the seeds' are skewed."""

  seed: float
  image: float
  noise: float
  skewed: bool = False


KINDS = {
  "seeds dominate": Kind(1, 0.1, 0.1),
  "images dominate": Kind(0.05, 1, 0.1),
  "noise dominates": Kind(0, 0, 1),
  "all count": Kind(0.3, 1, 1),
  "skewed seeds": Kind(1, 0.1, 0.1, skewed=True),
}


def simulate(
  kind: Kind, seeds: int, images: int, trials: int
) -> tuple[float, float]:
  """Draws tables and intervals.

  Args:
    kind: how the differences vary.
    seeds: rows of a table.
    images: columns of a table.
    trials: number of tables.

  Returns:
    The share of the intervals that cover the true mean, and their mean width
    relative to 2 · 1.96 standard deviations of the tables' means.
  """
  rng = np.random.default_rng(0)
  covered, widths = 0, []
  for _ in range(trials):
    of_seeds = rng.standard_normal((seeds, 1))
    if kind.skewed:
      of_seeds = rng.exponential(size=(seeds, 1)) - 1
    table = (
      TRUTH
      + kind.seed * of_seeds
      + kind.image * rng.standard_normal((1, images))
      + kind.noise * rng.standard_normal((seeds, images))
    )
    found = crossed_factors.interval(table)
    covered += found.low <= TRUTH <= found.high
    widths.append(found.high - found.low)
  variance = (
    kind.seed**2 / seeds
    + kind.image**2 / images
    + kind.noise**2 / (seeds * images)
  )
  known = 2 * 1.96 * np.sqrt(variance)
  return covered / trials, float(np.mean(widths) / known)


def main() -> None:
  """Simulates all kinds of data and prints a table."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--seeds", default="2,3,5,10", help="numbers of seeds")
  parser.add_argument("--images", default="14,100", help="numbers of images")
  parser.add_argument("--trials", type=int, default=4000)
  flags = parser.parse_args()
  numbers = [
    (seeds, images)
    for seeds in map(int, flags.seeds.split(","))
    for images in map(int, flags.images.split(","))
  ]
  rows = []
  for seeds, images in numbers:
    cells = []
    for kind in KINDS.values():
      covered, width = simulate(kind, seeds, images, flags.trials)
      cells.append(f"{100 * covered:.1f} % ({width:.2f})")
    rows.append([str(seeds), str(images), *cells])
  title = f"Coverage of 95 % intervals, {flags.trials:,} tables a cell"
  print(Table(title, ["seeds", "images", *KINDS], rows, []).text())


if __name__ == "__main__":
  main()
