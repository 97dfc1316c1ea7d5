"""The input conventions of backbones, in both directions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bamjax.layers import Normalization

MEAN = np.array([0.4488, 0.4371, 0.4040])

# Gain, shift, and the network's input.
CONVENTIONS = [
  (1, 0, lambda x: x),
  (1, 1, lambda x: x - MEAN),
  (255, 255, lambda x: 255 * x - 255 * MEAN),
  (2, 2, lambda x: (255 * x - 255 * MEAN) / 127.5),
  (255, 1, lambda x: 255 * x - MEAN),
]


def images():
  return jax.random.uniform(jax.random.key(0), (2, 4, 5, 3))


@pytest.mark.parametrize("gain, shift, fed", CONVENTIONS)
def test_enter_feeds_the_convention(gain, shift, fed):
  x = images()
  got = Normalization(gain, shift).enter(x)
  np.testing.assert_allclose(got, fed(np.asarray(x)), 1e-5, 1e-4)


@pytest.mark.parametrize("gain, shift, fed", CONVENTIONS)
def test_leave_undoes_enter(gain, shift, fed):
  x = images()
  normalization = Normalization(gain, shift)
  np.testing.assert_allclose(
    normalization.leave(normalization.enter(x)), x, 1e-5, 1e-6
  )
  np.testing.assert_allclose(
    normalization.leave(jnp.asarray(fed(np.asarray(x)))), x, 1e-5, 1e-6
  )


def test_the_default_changes_nothing():
  x = images()
  np.testing.assert_array_equal(Normalization().enter(x), x)
  np.testing.assert_array_equal(Normalization().leave(x), x)


@pytest.mark.parametrize("gain, shift, fed", CONVENTIONS)
def test_dtypes(gain, shift, fed):
  del fed
  normalization = Normalization(gain, shift)
  x = images().astype(jnp.bfloat16)
  assert normalization.enter(x).dtype == jnp.bfloat16
  assert normalization.leave(x).dtype == jnp.float32
