"""How batches reach the training step: through tf.data, or on the device."""

from collections.abc import Callable
import functools

import jax
import ml_collections

from bamjax.data import crops
from bamjax.data import pipeline
from bamjax.data import resident
from bamjax.training import parallel
from bamjax.training.step import train_step

# Steps of a dispatch off the CPU: enough that the host is not in the way.
_STEPS_PER_DISPATCH = 50


def make_advance(
  config: ml_collections.ConfigDict, store: crops.CropStore, start: int
) -> tuple[parallel.Advance, int]:
  """Compiles training.

  Args:
    config: of the run.
    store: the crops to train on.
    start: step that training begins after.

  Returns:
    A function of the state and of a number of steps, which trains as many, and
    the most steps that one call should be asked for.

  Raises:
    UserError: the images do not fit on the device.
  """
  step = functools.partial(
    train_step,
    accumulate=config.optim.accumulate,
    ema_decay=config.optim.ema_decay,
  )
  options = {
    "seed": config.seed,
    "batch_size": config.batch_size,
    "patch": config.data.patch,
  }
  if config.data.mode == "resident":
    data = resident.pack(store)
    advance = parallel.parallelize_resident(
      step, data, config.parallel, **options
    )
    on_cpu = jax.default_backend() == "cpu"
    auto = 1 if on_cpu else _STEPS_PER_DISPATCH
    return advance, config.data.steps_per_dispatch or auto

  batches = pipeline.train_batches(
    store,
    **options,
    start_step=start,
    num_steps=config.steps - start,
    shard=(jax.process_index(), jax.process_count()),
  )
  return _each(parallel.parallelize(step, config.parallel), batches), 1


def _each(step: Callable, batches) -> parallel.Advance:
  def advance(state, count):
    for _ in range(count):
      state = step(state, next(batches))
    return state

  return advance


def next_stop(step: int, config: ml_collections.ConfigDict, most: int) -> int:
  """Where a call of training ends that begins after a step.

  At the latest after `most` steps, counted from the last log, validation or
  checkpoint, so that a resumed run is cut into the very same calls.

  Args:
    step: steps done.
    config: of the run.
    most: steps that a call should be asked for.
  """
  everies = (config.log_every, config.eval_every, config.checkpoint_every)
  before = max(step // every * every for every in everies)
  after = min((step // every + 1) * every for every in everies)
  inside = before + ((step - before) // most + 1) * most
  return min(after, inside, config.steps)
