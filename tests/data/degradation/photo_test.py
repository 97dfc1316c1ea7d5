import dataclasses

import jax
import numpy as np

from bamjax.data.degradation import mixtures
from bamjax.data.degradation import photo


def test_draws_stay_within_their_ranges():
  stage = mixtures.Photo().second
  u = jax.random.uniform(jax.random.key(0), (500, photo.STAGE_NUMBERS))
  # The ends, too.
  u = u.at[0].set(0).at[1].set(np.nextafter(np.float32(1), np.float32(0)))
  drawn = jax.jit(jax.vmap(lambda u: photo.draw_stage(u, stage)))(u)
  for values, (low, high) in (
    (drawn.factor, stage.resize),
    (drawn.sigma, stage.gaussian_sigma),
    (drawn.scale, stage.poisson_scale),
    (drawn.quality, stage.jpeg_quality),
    (drawn.method, (0, 2)),
  ):
    # float32 rounds the ends themselves.
    assert low * (1 - 1e-6) <= values.min() <= low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) <= values.max() <= high * (1 + 1e-6)
  assert abs(np.mean(drawn.factor == 1) - 0.3) < 0.07
  assert abs(np.mean(drawn.factor > 1) - 0.3) < 0.07
  assert abs(np.mean(drawn.is_gaussian) - 0.5) < 0.08
  assert abs(np.mean(drawn.gray) - 0.4) < 0.08
  kernels = np.asarray(drawn.kernel)
  np.testing.assert_allclose(kernels.sum((1, 2)), 1, atol=1e-5)
  # A fifth is not blurred; the rest has all sizes.
  assert abs(np.mean(kernels[:, 10, 10] > 0.9999) - 0.2) < 0.1
  extent = (np.abs(kernels) > 1e-12).any(1).sum(1)
  assert set(range(7, 22, 2)) <= set(extent.tolist())


def test_equal_ends_fix_a_value():
  stage = dataclasses.replace(
    mixtures.Stage(), jpeg_quality=(40, 40), gaussian_sigma=(15, 15)
  )
  u = np.full(photo.STAGE_NUMBERS, 0.7, np.float32)
  drawn = jax.jit(lambda u: photo.draw_stage(u, stage))(u)
  assert (drawn.quality, drawn.sigma) == (40, 15)
