"""Draws training samples as a function of (seed, step, index in the batch).

There is no state: a resumed run draws the same samples as an uninterrupted one,
whatever the number of workers or hosts.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bamjax.data import order


class Plan(NamedTuple):
  """The samples of a global batch of N, as arrays of shape (N,).

  Attributes:
    crop: int32, index of the crop.
    y: int32, top row of the LR patch within the crop.
    x: int32, left column of the LR patch within the crop.
    flip_x: bool, whether to flip the patch horizontally first.
    flip_y: bool, whether to flip it vertically then.
    turn: bool, whether to rotate it by 90° counterclockwise last.
  """

  crop: jax.Array
  y: jax.Array
  x: jax.Array
  flip_x: jax.Array
  flip_y: jax.Array
  turn: jax.Array


@functools.partial(jax.jit, static_argnames=("batch_size", "patch"))
def plan(
  seed: jax.Array | int,
  step: jax.Array | int,
  sizes: jax.Array,
  *,
  batch_size: int,
  patch: int,
) -> Plan:
  """Draws the samples of one global batch.

  Each epoch visits every crop once, in a different order. A patch's place is
  uniformly distributed; flips and turns each have probability ½ (paper,
  "Implementation details").

  Args:
    seed: int32 scalar.
    step: int32 scalar, 0 for the first batch.
    sizes: (crops, 2) int32, heights and widths in LR pixels, at least `patch`.
    batch_size: number N of samples.
    patch: side of the LR patches in pixels.
  """
  crops = sizes.shape[0]
  # The bit widths and the generator are explicit: JAX's settings for x64 and
  # the default generator must not change a run's samples.
  seed, step = (jnp.asarray(n).astype(jnp.int32) for n in (seed, step))
  key = jax.random.key(seed, impl="threefry2x32")
  order_key, sample_key = jax.random.split(key)
  index = jnp.arange(batch_size, dtype=jnp.uint32)
  epoch, place = order.locate(step, index, batch_size, crops)
  epoch_keys = jax.vmap(lambda e: jax.random.fold_in(order_key, e))(epoch)
  crop = jax.vmap(lambda key, at: order.element(key, at, crops))(
    epoch_keys, place
  ).astype(jnp.int32)
  step_key = jax.random.fold_in(sample_key, step)
  keys = jax.vmap(lambda i: jax.random.fold_in(step_key, i))(index)
  draws = jax.vmap(lambda k: jax.random.uniform(k, (5,), jnp.float32))(keys)
  room = sizes[crop] - patch + 1
  # uniform < 1, but the product may be rounded up to `room`.
  corner = jnp.minimum((draws[:, :2] * room).astype(jnp.int32), room - 1)
  turns = draws[:, 2:] < 0.5
  return Plan(
    crop, corner[:, 0], corner[:, 1], turns[:, 0], turns[:, 1], turns[:, 2]
  )
