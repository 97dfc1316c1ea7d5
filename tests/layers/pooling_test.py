import functools

import jax
import jax.numpy as jnp
import numpy as np

from bamjax.layers import Pool
from bamjax.layers.pooling import KINDS


def test_pools_are_numpys_and_have_no_parameters():
  x = np.random.default_rng(0).random((2, 5, 7, 3), dtype=np.float32)
  module = Pool(KINDS)
  assert module.init(jax.random.key(0), x) == {}
  found = module.apply({}, x)
  sample = functools.partial(np.var, ddof=1)
  for pooled, f in zip(found, (np.mean, np.max, np.std, sample), strict=True):
    want = f(x, axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(pooled, want, atol=1e-6)


def test_a_constant_channel_has_a_finite_gradient():
  x = jnp.ones((1, 4, 4, 2))
  gradient = jax.grad(lambda x: sum(Pool(("deviation",)).apply({}, x)).sum())(x)
  assert np.isfinite(gradient).all()
