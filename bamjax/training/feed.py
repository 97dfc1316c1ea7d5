"""Feeds batches to the training step: from tf.data or on the device."""

from collections.abc import Iterator
import functools
from typing import Any

import jax

from bamjax.data import crops
from bamjax.data import pipeline
from bamjax.data import resident
from bamjax.data.sampling import Extras
from bamjax.runs import experiment
from bamjax.runs.recipe import Recipe
from bamjax.training import parallel
from bamjax.training.degraded import on_degraded
from bamjax.training.distillation import on_taught
from bamjax.training.state import TrainState
from bamjax.training.step import train_step

# Default number of steps per call on accelerators, enough to hide the host.
_STEPS_PER_DISPATCH = 50


def make_step(config: Recipe) -> parallel.Step:
  """Returns a run's training step, with its degradation and its teacher."""
  accumulate = config.optim.accumulate
  step: parallel.Step = functools.partial(
    train_step, accumulate=accumulate, ema_decay=config.optim.ema_decay
  )
  mixture = experiment.make_mixture(config)
  step = on_degraded(step, mixture, config.seed, config.batch_size)
  teacher = config.teacher
  return on_taught(
    step, teacher.weight, ensemble=teacher.ensemble, parts=accumulate
  )


def make_advance(
  config: Recipe, store: crops.CropStore, start: int
) -> tuple[parallel.Advance, int]:
  """Creates the function that trains.

  Args:
    config: the run's configuration.
    store: the crops to train on.
    start: number of steps already done.

  Returns:
    A function that maps the state and a number of steps to the state after
    them; and the maximum number of steps for one call.

  Raises:
    UserError: the images do not fit in a device's memory.
  """
  step = make_step(config)
  options: dict[str, Any] = {
    "seed": config.seed,
    "batch_size": config.batch_size,
    "patch": config.data.patch,
    "extras": Extras(config.data.lr_only, config.data.permute_rgb),
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


def _each(
  step: parallel.Step, batches: Iterator[pipeline.Batch]
) -> parallel.Advance:
  def advance(state: TrainState, count: int) -> TrainState:
    for _ in range(count):
      state = step(state, next(batches))
    return state

  return advance


def next_stop(step: int, config: Recipe, most: int) -> int:
  """Returns the step at which the next call of training must end.

  It ends at a log, validation or checkpoint, or after `most` steps. The latter
  are counted from the last log, validation or checkpoint, so that a resumed run
  is split into the same calls.

  Args:
    step: steps already done.
    config: the run's configuration.
    most: maximum number of steps for one call.
  """
  everies = (config.log_every, config.eval_every, config.checkpoint_every)
  before = max(step // every * every for every in everies)
  after = min((step // every + 1) * every for every in everies)
  inside = before + ((step - before) // most + 1) * most
  return min(after, inside, config.steps)
