"""Batches of patches, produced by tf.data."""

from collections.abc import Iterator
from typing import Any
from typing import TYPE_CHECKING

import jax
import numpy as np

from bamjax.data import lazy_tensorflow
from bamjax.data.crops import CropStore
from bamjax.data.sampling import Extras
from bamjax.data.sampling import NONE
from bamjax.data.sampling import Plan
from bamjax.data.sampling import plan
from bamjax.errors import UserError

if TYPE_CHECKING:
  from tensorflow import Tensor

Batch = dict[str, np.ndarray]


def cut(store: CropStore, samples: Plan, patch: int) -> Batch:
  """Cuts the patches of a plan out of the images, and flips and turns them.

  Args:
    store: the crops.
    samples: the plan of N samples.
    patch: side p of the LR patches in pixels.

  Returns:
    `lr` N×p×p×3 and `hr` N×sp×sp×3, uint8; and, if the plan has samples without
    HR, `lr_only`, N bool. Their `hr` is 0.
  """
  count, scale = len(samples.crop), store.scale
  shape = (count, patch, patch, 3)
  lr = np.empty(shape, np.uint8)
  hr = np.empty((count, scale * patch, scale * patch, 3), np.uint8)
  *turned, level, orders = samples
  levels = None if level is None else np.asarray(level)
  for i, (crop, y, x, *turns) in enumerate(zip(*turned, strict=True)):
    if levels is None or levels[i] < 0:
      windows = store.window(crop, y, x, patch)
    else:
      own = store.own_window(crop, levels[i], y, x, patch)
      windows = own, np.zeros_like(hr[i])
    for out, window in zip((lr, hr), windows, strict=True):
      window = _turn(window, *turns)
      out[i] = window if orders is None else window[..., orders[i]]
  for decoded in (store.decoded, store.smaller):
    if decoded:
      decoded.count_cut(count)
  batch = {"lr": lr, "hr": hr}
  return batch if levels is None else {**batch, "lr_only": levels >= 0}


def _turn(
  image: np.ndarray, flip_x: bool, flip_y: bool, turn: bool
) -> np.ndarray:
  """Returns a flipped and turned view of H×W×C; see `Plan`."""
  if flip_x:
    image = image[:, ::-1]
  if flip_y:
    image = image[::-1]
  return np.rot90(image) if turn else image


def sample_batch(
  store: CropStore,
  step: int,
  *,
  seed: int,
  batch_size: int,
  patch: int,
  shard: tuple[int, int] = (0, 1),
  extras: Extras = NONE,
) -> Batch:
  """Returns one batch without using tf.data.

  Args:
    store: the crops.
    step: the training step, 0 for the first batch.
    seed: determines the order, places, flips and turns.
    batch_size: global batch size.
    patch: side p of the LR patches in pixels.
    shard: (index, count) of the processes that share the global batch.
    extras: what else is drawn; LR without HR needs `store.smaller`.

  Returns:
    As `cut`, with n = batch_size / count samples.
  """
  # Always planned on the CPU: it is only a few numbers.
  with jax.default_device(jax.local_devices(backend="cpu")[0]):
    samples = plan(
      np.int32(seed),
      np.int32(step),
      store.sizes_on_cpu,
      batch_size=batch_size,
      patch=patch,
      scale=store.scale,
      extras=extras,
    )
  index, count = shard
  rows = slice(index * batch_size // count, (index + 1) * batch_size // count)
  share = jax.tree.map(lambda x: np.asarray(x)[rows], samples)
  return cut(store, share, patch)


def train_batches(
  store: CropStore,
  *,
  seed: int,
  batch_size: int,
  patch: int,
  start_step: int,
  num_steps: int,
  shard: tuple[int, int] = (0, 1),
  extras: Extras = NONE,
) -> Iterator[Batch]:
  """Yields the batches of steps `start_step` to `start_step + num_steps`.

  tf.data prepares them in parallel and ahead of time, in order. Patches are
  views of decoded images: a batch costs little more than copying it.

  Args:
    store: the crops.
    seed: determines the order, places, flips and turns.
    batch_size: global batch size.
    patch: side p of the LR patches in pixels.
    start_step: first step, 0 for a new run.
    num_steps: number of batches.
    shard: (index, count) of the processes that share the global batch.
    extras: what else is drawn; LR without HR needs `store.smaller`.

  Returns:
    An iterator of batches as of `cut`, with n = batch_size / count samples.

  Raises:
    UserError: `batch_size` is not a multiple of the number of processes.
  """
  if batch_size % shard[1]:
    raise UserError(
      f"a batch of {batch_size} cannot be split evenly over {shard[1]}"
      f" processes; make --batch_size a multiple of {shard[1]}"
    )
  tf = lazy_tensorflow.load()

  def fetch(step: np.int64) -> tuple[np.ndarray, ...]:
    batch = sample_batch(
      store,
      int(step),
      seed=seed,
      batch_size=batch_size,
      patch=patch,
      shard=shard,
      extras=extras,
    )
    return tuple(batch[name] for name in kinds)

  count, large = batch_size // shard[1], patch * store.scale
  kinds: dict[str, tuple[Any, tuple[int, ...]]] = {
    "lr": (tf.uint8, (count, patch, patch, 3)),
    "hr": (tf.uint8, (count, large, large, 3)),
  }
  if extras.lr_only:
    kinds["lr_only"] = tf.bool, (count,)

  def load(step: "Tensor") -> "dict[str, Tensor]":
    dtypes = [dtype for dtype, _ in kinds.values()]
    found = tf.numpy_function(fetch, [step], dtypes, stateful=False)
    batch = dict(zip(kinds, found, strict=True))
    for name, (_, shape) in kinds.items():
      batch[name].set_shape(shape)
    return batch

  data = tf.data.Dataset.range(start_step, start_step + num_steps)
  data = data.map(load, num_parallel_calls=2, deterministic=True)
  return data.prefetch(8).as_numpy_iterator()
