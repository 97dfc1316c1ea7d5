import jax
import numpy as np
from scipy import stats

from bamjax.data.degradation import noise

KEY = jax.random.key(7, impl="threefry2x32")
SHAPE = (3, 200, 250)
COUNT = 200 * 250


def test_gaussian_noise_has_its_sigma():
  normal = noise.standard_noise(KEY, SHAPE)
  image = np.full(SHAPE, 0.5, np.float32)
  found = 255 * np.asarray(noise.gaussian_noise(image, normal, 15.0) - image)
  for plane in found:
    assert abs(plane.mean()) < 5 * 15 / COUNT**0.5
    assert abs(plane.std() / 15 - 1) < 5 / (2 * COUNT) ** 0.5
    assert stats.kstest(plane[::7, ::7].ravel() / 15, "norm").pvalue > 1e-3
  assert np.abs(np.corrcoef(found.reshape(3, -1)) - np.eye(3)).max() < 0.03


def test_gray_noise_is_the_same_in_all_channels():
  normal = np.asarray(noise.standard_noise(KEY, SHAPE, gray=True))
  assert (normal == normal[:1]).all()
  image = np.stack([np.full(SHAPE[1:], v, np.float32) for v in (0, 0.4, 1)])
  added = noise.poisson_noise(image, normal, gray=True) - image
  assert np.ptp(np.asarray(added), axis=0).max() < 1e-6


def test_counts_are_poissons():
  normal = np.asarray(noise.standard_noise(KEY, SHAPE))[0]
  count = jax.jit(noise.poisson)
  for rate in (0.0, 0.5, 2.0, 3.9, 4.1, 9.0, 60.0, 256.0):
    found = np.asarray(count(normal, np.float32(rate)))
    exact = stats.poisson.ppf(stats.norm.cdf(normal.astype(float)), rate)
    exact = np.maximum(exact, 0)
    assert np.mean(found != exact) < 3e-3, rate
    assert np.abs(found - exact).max() <= 1, rate


def test_poisson_noise_follows_the_brightness():
  normal = noise.standard_noise(KEY, SHAPE)
  image = np.stack(
    [np.full(SHAPE[1:], v, np.float32) for v in (0.01, 0.2, 0.9)]
  )
  added = np.asarray(noise.poisson_noise(image, normal, 2.0) - image)
  for value, plane in zip((0.01, 0.2, 0.9), added, strict=True):
    deviation = 2 * (value / 256) ** 0.5
    assert abs(plane.mean()) < 5 * deviation / COUNT**0.5
    assert abs(plane.std() / deviation - 1) < 0.02
