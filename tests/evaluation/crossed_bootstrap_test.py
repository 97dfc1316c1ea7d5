import math

import numpy as np
import pytest

from bamjax.evaluation import crossed_bootstrap


@pytest.mark.parametrize(
  "seeds, images, of_seed, of_image, rest, least",
  [
    (3, 100, 0.05, 0.01, 0.01, 0.92),
    (3, 14, 0.03, 0.1, 0.1, 0.92),
    (5, 100, 0.03, 0.03, 0.03, 0.92),
    (2, 14, 0.05, 0.01, 0.01, 0.85),
    (1, 30, 0.0, 0.1, 0.05, 0.9),
    (1, 5, 0.0, 0.1, 0.05, 0.9),  # plain percentiles: 0.83
  ],
)
def test_coverage(monkeypatch, seeds, images, of_seed, of_image, rest, least):
  # Fewer resamples: 300 intervals a case in a second.
  monkeypatch.setattr(crossed_bootstrap, "_RESAMPLES", 500)
  rng = np.random.default_rng(0)
  truth, trials = 0.02, 300
  covered = 0
  for _ in range(trials):
    differences = (
      truth
      + of_seed * rng.standard_normal((seeds, 1))
      + of_image * rng.standard_normal((1, images))
      + rest * rng.standard_normal((seeds, images))
    )
    found = crossed_bootstrap.interval(differences)
    covered += found.low <= truth <= found.high
  assert least <= covered / trials <= 0.995


def test_an_interval_over_images_alone_does_not_cover():
  # Why seeds: the same data, as `evaluate --compare` would judge one seed.
  rng = np.random.default_rng(0)
  covered = 0
  for _ in range(100):
    one = 0.05 * rng.standard_normal() + 0.01 * rng.standard_normal(100)
    found = crossed_bootstrap.interval(one[None])
    covered += found.low <= 0 <= found.high
  assert covered < 20


def test_many_seeds_give_the_plain_bootstrap():
  rng = np.random.default_rng(1)
  column = rng.standard_normal((1, 400))
  found = crossed_bootstrap.interval(np.repeat(column, 50, axis=0))
  one = crossed_bootstrap.interval(column)
  assert found.low == pytest.approx(one.low, abs=0.006)
  assert found.high == pytest.approx(one.high, abs=0.006)
  assert found.spread == pytest.approx(0, abs=1e-12)


def test_many_images_give_the_normal_approximation():
  differences = np.random.default_rng(0).normal(0.05, 0.2, (1, 400))
  found = crossed_bootstrap.interval(differences)
  error = 1.96 * differences.std() / np.sqrt(400)
  assert found.low == pytest.approx(differences.mean() - error, abs=2e-3)
  assert found.high == pytest.approx(differences.mean() + error, abs=2e-3)


def test_what_is_stated():
  table = np.array([[1.0, 3.0, 2.0], [3.0, 5.0, 4.0]])
  found = crossed_bootstrap.interval(table)
  assert (found.mean, found.seeds, found.images) == (3.0, 2, 3)
  assert found.spread == pytest.approx(math.sqrt(2))
  assert found == crossed_bootstrap.interval(table)  # the same at each call
  assert not found.shown
  equal = crossed_bootstrap.interval(np.ones((3, 5)))
  assert (equal.low, equal.high, equal.shown) == (1.0, 1.0, True)


def test_one_seed_or_one_image():
  one = crossed_bootstrap.interval(np.array([[1.0, 2.0, 3.0]]))
  assert one.low < 2 < one.high and math.isnan(one.spread)
  alone = crossed_bootstrap.interval(np.array([[1.0], [2.0]]))
  assert alone.mean == 1.5 and math.isnan(alone.low) and not alone.shown
