"""Confidence intervals over images and seeds, two crossed random factors.

The scores of S trained networks on the same N images form a table of S×N
differences. A seed shifts a whole row and an image a whole column, so an
interval over images alone says nothing about the next seed.
"""

import dataclasses
import math

import numpy as np
from scipy import special

LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Interval:
  """The mean of S×N differences and how certain it is.

  Attributes:
    mean: over all seeds and images.
    low: lower bound; NaN if there is one image only.
    high: upper bound; NaN if there is one image only.
    seeds: S. With one seed the bounds cover the images only.
    images: N.
    spread: standard deviation (S − 1) over the seeds' means; NaN for one seed.
  """

  mean: float
  low: float
  high: float
  seeds: int
  images: int
  spread: float

  @property
  def shown(self) -> bool:
    """Whether the interval excludes 0."""
    return self.low > 0 or self.high < 0


def interval(differences: np.ndarray, level: float = LEVEL) -> Interval:
  """Bounds the mean difference that further seeds and images would have.

  The model is two-way random effects without replication. With the mean squares
  A of the seeds, B of the images and E of the rest, (A + B − E) / (S·N) is an
  unbiased estimate of the mean's variance (Burdick and Graybill 1992,
  "Confidence Intervals on Variance Components"; up to a term of order 1/(S·N),
  the two-way clustered variance of Cameron, Gelbach and Miller 2011, "Robust
  Inference With Multiway Clustering"). If it is below the variance by seeds
  alone or by images alone, the largest of the three counts (MacKinnon, Nielsen
  and Webb 2024, "Jackknife inference with two-way clustering"). The bounds are
  Student's t, with the degrees of freedom of a sum of mean squares
  (Satterthwaite 1946, "An Approximate Distribution of Estimates of Variance
  Components"). With one seed this is the t interval over the images.

  Args:
    differences: S×N, a row per seed and a column per image, finite.
    level: confidence.

  Returns:
    The interval. `python -m benchmarks.interval_coverage` simulates how often
    it covers the true mean.
  """
  table = np.asarray(differences, np.float64)
  seeds, images = table.shape
  mean = float(table.mean())
  of_seeds, of_images = table.mean(axis=1), table.mean(axis=0)
  spread = float(of_seeds.std(ddof=1)) if seeds > 1 else math.nan
  if images < 2:
    return Interval(mean, math.nan, math.nan, seeds, images, spread)
  b = seeds * float(of_images.var(ddof=1)), images - 1
  candidates = [[b]]
  if seeds > 1:
    a = images * float(of_seeds.var(ddof=1)), seeds - 1
    rest = table - of_seeds[:, None] - of_images + mean
    freedom = (seeds - 1) * (images - 1)
    e = -float(np.sum(rest**2)) / freedom, freedom
    candidates += [[a], [a, b, e]]
  sums = [sum(square for square, _ in parts) for parts in candidates]
  largest = max(sums)
  parts = candidates[sums.index(largest)]
  half = 0.0
  if largest:
    weighted = sum(square**2 / freedom for square, freedom in parts)
    quantile = special.stdtrit(largest**2 / weighted, (1 + level) / 2)
    half = float(quantile) * math.sqrt(largest / table.size)
  return Interval(mean, mean - half, mean + half, seeds, images, spread)
