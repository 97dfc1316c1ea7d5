"""A random key for each sample, from (seed, step, index) alone."""

import jax
import jax.numpy as jnp

# Keeps the keys apart from those that the same seed gives to crops and weights.
_STREAM = 0xDE62AD


def sample_keys(
  seed: jax.Array | int, step: jax.Array | int, batch_size: int
) -> jax.Array:
  """Keys of one global batch, whatever else is in it.

  Args:
    seed: int32 scalar.
    step: int32 scalar, 0 for the first batch.
    batch_size: N.

  Returns:
    N keys of `jax.random`.
  """
  # Widths and generator are named, as in `bamjax.data.sampling`.
  seed, step = (jnp.asarray(n).astype(jnp.int32) for n in (seed, step))
  key = jax.random.key(seed, impl="threefry2x32")
  key = jax.random.fold_in(jax.random.fold_in(key, _STREAM), step)
  index = jnp.arange(batch_size, dtype=jnp.uint32)
  return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)
