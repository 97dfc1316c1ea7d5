import math
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from bamjax.evaluation import crossed_factors
from benchmarks import interval_coverage


@pytest.mark.parametrize(
  "kind, seeds, images, least, most",
  [
    ("seeds dominate", 3, 14, 0.92, 0.97),
    ("images dominate", 3, 14, 0.92, 0.97),
    # The estimated variance is never below that of a factor alone. The
    # pigeonhole bootstrap counts the noise three times, and covers 99.9 %.
    ("noise dominates", 3, 14, 0.94, 0.99),
    ("noise dominates", 5, 100, 0.94, 0.99),
    ("all count", 3, 14, 0.92, 0.975),
    # Student's t of three exponential values covers 88.4 %.
    ("skewed seeds", 3, 14, 0.84, 0.91),
    ("seeds dominate", 2, 14, 0.9, 0.97),
    ("images dominate", 1, 14, 0.92, 0.97),
  ],
)
def test_coverage(kind, seeds, images, least, most):
  chosen = interval_coverage.KINDS[kind]
  if seeds == 1:  # whose interval is of this seed's mean difference
    chosen = chosen._replace(seed=0)
  covered, _ = interval_coverage.simulate(chosen, seeds, images, 1000)
  assert least <= covered <= most


def test_noise_counts_once():
  # With many seeds and images of nothing but noise, the interval is that of S·N
  # independent values; a pigeonhole bootstrap's is √3 times as wide.
  kind = interval_coverage.KINDS["noise dominates"]
  _, width = interval_coverage.simulate(kind, 40, 40, 100)
  assert 0.95 < width < 1.2


def test_an_interval_over_images_alone_does_not_cover():
  # Why seeds: the same data, as `evaluate --compare` would judge one seed.
  rng = np.random.default_rng(0)
  covered = 0
  for _ in range(100):
    one = 0.05 * rng.standard_normal() + 0.01 * rng.standard_normal(100)
    found = crossed_factors.interval(one[None])
    covered += found.low <= 0 <= found.high
  assert covered < 20


def test_one_seed_gives_the_t_interval_over_images():
  differences = np.random.default_rng(0).normal(0.05, 0.2, 30)
  found = crossed_factors.interval(differences[None])
  expected = stats.t.interval(
    0.95, 29, differences.mean(), stats.sem(differences)
  )
  assert (found.low, found.high) == pytest.approx(expected)
  # Also of seeds that agree.
  found = crossed_factors.interval(np.repeat(differences[None], 5, axis=0))
  assert (found.low, found.high) == pytest.approx(expected)
  assert found.spread == pytest.approx(0, abs=1e-12)


def test_what_is_stated():
  table = np.array([[1.0, 3.0, 2.0], [3.0, 5.0, 4.0]])
  found = crossed_factors.interval(table)
  assert (found.mean, found.seeds, found.images) == (3.0, 2, 3)
  assert found.spread == pytest.approx(math.sqrt(2))
  # Mean squares: 6 of the seeds (1 degree of freedom), 2 of the images (2), and
  # no noise. Hence a variance of 8/6, with 8²/(6²/1 + 2²/2) degrees.
  half = stats.t.ppf(0.975, 64 / 38) * math.sqrt(8 / 6)
  assert found.high == pytest.approx(3 + half)
  assert found.low == pytest.approx(3 - half)
  assert not found.shown
  equal = crossed_factors.interval(np.ones((3, 5)))
  assert (equal.low, equal.high, equal.shown) == (1.0, 1.0, True)


def test_the_variance_is_at_least_that_of_each_factor():
  # Noise that cancels in the seeds' means and the images': mean squares of 0.
  noise = np.array([[1.0, -1.0], [-1.0, 1.0]])
  found = crossed_factors.interval(noise)
  assert (found.low, found.high) == (0.0, 0.0)
  found = crossed_factors.interval(noise + [[0.5], [-0.5]])
  # 2 · 0.5 of the seeds, 1 degree of freedom.
  half = stats.t.ppf(0.975, 1) * math.sqrt(1 / 4)
  assert found.high == pytest.approx(half)


def test_memory_is_a_few_tables():
  table = np.random.default_rng(0).standard_normal((3, 5000))
  tracemalloc.start()
  crossed_factors.interval(table)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < 10 * table.nbytes


def test_one_seed_or_one_image():
  one = crossed_factors.interval(np.array([[1.0, 2.0, 3.0]]))
  assert one.low < 2 < one.high and math.isnan(one.spread)
  alone = crossed_factors.interval(np.array([[1.0], [2.0]]))
  assert alone.mean == 1.5 and math.isnan(alone.low) and not alone.shown
