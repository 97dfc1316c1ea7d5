"""Which patch, where and how turned: from (seed, step, index) alone.

No state is kept, so a run that is cut off and resumed draws the samples of the
run that was not, whatever the number of workers or hosts.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from bamjax.data import order


class Plan(NamedTuple):
  """What the samples of a global batch of N are, arrays of shape (N,).

  Attributes:
    crop: int32, index of the crop.
    y: int32, top row of the LR patch.
    x: int32, left column of the LR patch.
    flip_x: bool, whether it is mirrored left to right …
    flip_y: bool, … then top to bottom …
    turn: bool, … then turned by 90° counterclockwise.
  """

  crop: jax.Array
  y: jax.Array
  x: jax.Array
  flip_x: jax.Array
  flip_y: jax.Array
  turn: jax.Array


@functools.partial(jax.jit, static_argnames=("batch_size", "patch"))
def plan(
  seed: jax.Array,
  step: jax.Array,
  sizes: jax.Array,
  *,
  batch_size: int,
  patch: int,
) -> Plan:
  """Draws one global batch.

  Each epoch visits every crop once, in an order of its own; the patch's place
  is uniform, and each flip and turn has probability ½ (paper, "Implementation
  details").

  Args:
    seed: int32 scalar.
    step: int32 scalar, 0 for the first batch.
    sizes: (crops, 2) int32, LR heights and widths, each at least `patch`.
    batch_size: N.
    patch: side of the LR patch.
  """
  crops = sizes.shape[0]
  # Widths and generator are named, so that no setting of JAX's, as those of x64
  # and of its default generator, changes a run's order.
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
  # uniform < 1, yet its product may round up to `room` itself.
  corner = jnp.minimum((draws[:, :2] * room).astype(jnp.int32), room - 1)
  turns = draws[:, 2:] < 0.5
  return Plan(
    crop, corner[:, 0], corner[:, 1], turns[:, 0], turns[:, 1], turns[:, 2]
  )
