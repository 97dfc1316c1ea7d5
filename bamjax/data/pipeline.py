"""Batches of patches through tf.data."""

from collections.abc import Iterator

import jax
import numpy as np

from bamjax.data import lazy_tensorflow
from bamjax.data.crops import CropStore
from bamjax.data.sampling import Plan
from bamjax.data.sampling import plan
from bamjax.errors import UserError

Batch = dict[str, np.ndarray]


def cut(store: CropStore, samples: Plan, patch: int) -> Batch:
  """Cuts and turns the patches of a plan.

  Args:
    store: the crops.
    samples: N samples.
    patch: side of the LR patches.

  Returns:
    `lr` N×p×p×3 and `hr` N×sp×sp×3, uint8.
  """
  count, scale = len(samples.crop), store.scale
  shape = (count, patch, patch, 3)
  lr = np.empty(shape, np.uint8)
  hr = np.empty((count, scale * patch, scale * patch, 3), np.uint8)
  for i, sample in enumerate(zip(*samples, strict=True)):
    crop, y, x, *turns = sample
    windows = store.window(crop, y, x, patch)
    for out, window in zip((lr, hr), windows, strict=True):
      out[i] = _turn(window, *turns)
  store.decoded.count_cut(count)
  return {"lr": lr, "hr": hr}


def _turn(image: np.ndarray, flip_x, flip_y, turn) -> np.ndarray:
  """A view of H×W×C, mirrored and turned as `Plan` says."""
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
) -> Batch:
  """One batch without tf.data; see `train_batches`."""
  # Planned on the CPU, wherever the network runs: a few numbers a step.
  with jax.default_device(jax.local_devices(backend="cpu")[0]):
    samples = plan(
      np.int32(seed),
      np.int32(step),
      store.sizes_on_cpu,
      batch_size=batch_size,
      patch=patch,
    )
  index, count = shard
  rows = slice(index * batch_size // count, (index + 1) * batch_size // count)
  return cut(store, Plan(*(np.asarray(x)[rows] for x in samples)), patch)


def train_batches(
  store: CropStore,
  *,
  seed: int,
  batch_size: int,
  patch: int,
  start_step: int,
  num_steps: int,
  shard: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
  """Batches of steps `start_step` to `start_step + num_steps`.

  tf.data makes them in parallel and ahead of time, in order. The patches are
  views of decoded images, so that a batch costs little more than its copy.

  Args:
    store: the crops.
    seed: of order, places and turns.
    batch_size: global batch.
    patch: side of the LR patches.
    start_step: 0 for a new run.
    num_steps: batches to make.
    shard: (index, count) of the processes that share the global batch.

  Returns:
    An iterator of `lr` n×p×p×3 and `hr` n×sp×sp×3, uint8, n = batch_size /
    count.

  Raises:
    UserError: the processes cannot share the batch evenly.
  """
  if batch_size % shard[1]:
    raise UserError(
      f"a batch of {batch_size} cannot be shared by {shard[1]} processes; make"
      " --batch_size a multiple of it"
    )
  tf = lazy_tensorflow.load()

  def fetch(step):
    batch = sample_batch(
      store,
      int(step),
      seed=seed,
      batch_size=batch_size,
      patch=patch,
      shard=shard,
    )
    return batch["lr"], batch["hr"]

  count = batch_size // shard[1]

  def load(step):
    lr, hr = tf.numpy_function(
      fetch, [step], (tf.uint8, tf.uint8), stateful=False
    )
    large = patch * store.scale
    lr.set_shape((count, patch, patch, 3))
    hr.set_shape((count, large, large, 3))
    return {"lr": lr, "hr": hr}

  data = tf.data.Dataset.range(start_step, start_step + num_steps)
  data = data.map(load, num_parallel_calls=2, deterministic=True)
  return data.prefetch(8).as_numpy_iterator()
