"""Draws training samples as a function of (seed, step, index in the batch).

There is no state: a resumed run draws the same samples as an uninterrupted one,
whatever the number of workers or hosts.
"""

import dataclasses
import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bamjax.data import order

# An image's own pixels are LR at full, half and quarter size: the size at level
# l is HR's, shifted right by l.
LEVELS = 3

# Keeps the draws of `Extras` apart from the others, which stay as they are.
_STREAM = 0x7EAC4E
_ORDERS = np.array(list(itertools.permutations(range(3))), np.int32)


@dataclasses.dataclass(frozen=True)
class Extras:
  """What is drawn besides places, flips and turns.

  Attributes:
    lr_only: probability, 0 to 1, that a sample is LR without HR: a patch of the
      image's own pixels, at full, half or quarter size with equal probability
      (the largest of these if the others' crops are smaller than a patch).
    permute_rgb: whether the channels are permuted, each order being as
      probable.
  """

  lr_only: float = 0.0
  permute_rgb: bool = False


NONE = Extras()


class Plan(NamedTuple):
  """The samples of a global batch of N, as arrays of shape (N,).

  Attributes:
    crop: int32, index of the crop.
    y: int32, top row of the LR patch within the crop.
    x: int32, left column of the LR patch within the crop.
    flip_x: bool, whether to flip the patch horizontally first.
    flip_y: bool, whether to flip it vertically then.
    turn: bool, whether to rotate it by 90° counterclockwise last.
    level: int32, −1 for a pair; 0, 1 or 2 for LR without HR, at full, half or
      quarter size, where `y` and `x` are places in the crop's own pixels. None
      if all are pairs.
    channels: (N, 3) int32, which channels become R, G and B. None if they stay.
  """

  crop: jax.Array
  y: jax.Array
  x: jax.Array
  flip_x: jax.Array
  flip_y: jax.Array
  turn: jax.Array
  level: jax.Array | None = None
  channels: jax.Array | None = None


@functools.partial(
  jax.jit, static_argnames=("batch_size", "patch", "scale", "extras")
)
def plan(
  seed: jax.Array | int,
  step: jax.Array | int,
  sizes: jax.Array,
  *,
  batch_size: int,
  patch: int,
  scale: int = 1,
  extras: Extras = NONE,
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
    scale: upscaling factor, for `extras.lr_only`.
    extras: what else is drawn.
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
  sizes = sizes[crop]
  level = channels = None
  if extras != NONE:
    extra_key = jax.random.fold_in(jax.random.fold_in(key, _STREAM), step)
    keys = jax.vmap(lambda i: jax.random.fold_in(extra_key, i))(index)
    more = jax.vmap(lambda k: jax.random.uniform(k, (3,), jnp.float32))(keys)
    if extras.lr_only:
      own = scale * sizes >> jnp.arange(LEVELS)[:, None, None]
      fitting = (own.min(2) >= patch).sum(0)
      level = jnp.minimum((more[:, 1] * fitting).astype(jnp.int32), fitting - 1)
      level = jnp.where(more[:, 0] < extras.lr_only, level, -1)
      own = jnp.take_along_axis(own, level[None, :, None], 0)[0]
      sizes = jnp.where(level[:, None] < 0, sizes, own)
    if extras.permute_rgb:
      number = (more[:, 2] * len(_ORDERS)).astype(jnp.int32)
      channels = jnp.asarray(_ORDERS)[jnp.minimum(number, len(_ORDERS) - 1)]
  room = sizes - patch + 1
  # uniform < 1, but the product may be rounded up to `room`.
  corner = jnp.minimum((draws[:, :2] * room).astype(jnp.int32), room - 1)
  turns = draws[:, 2:] < 0.5
  return Plan(
    *(crop, corner[:, 0], corner[:, 1]),
    *(turns[:, 0], turns[:, 1], turns[:, 2]),
    *(level, channels),
  )
