"""A training step on degraded LR."""

from collections.abc import Callable

import jax
from jax import lax

from bamjax.data.degradation.degrade import degrade
from bamjax.data.degradation.degrade import sample_keys
from bamjax.data.degradation.mixtures import Bicubic
from bamjax.data.degradation.mixtures import Mixture
from bamjax.training.state import TrainState

Step = Callable[..., TrainState]


def on_degraded(
  step: Step, mixture: Mixture, seed: int, batch_size: int
) -> Step:
  """Makes a step degrade its batch first, on the device.

  A sample's degradation depends on (seed, step, index in the global batch)
  alone, as its crop does.

  Args:
    step: maps (state, batch, axis_name=…) to the next state.
    mixture: what is drawn from; `Bicubic` changes nothing.
    seed: of the run.
    batch_size: global batch size.
  """
  if isinstance(mixture, Bicubic):
    return step

  def run(
    state: TrainState,
    batch: dict[str, jax.Array],
    axis_name: str | None = None,
  ) -> TrainState:
    keys = sample_keys(seed, state.step, batch_size)
    if axis_name is not None:  # this device's share
      rows = batch_size // lax.axis_size(axis_name)
      first = lax.axis_index(axis_name) * rows
      keys = lax.dynamic_slice_in_dim(keys, first, rows)
    lr = degrade(batch["lr"], batch["hr"], keys, mixture)
    return step(state, {**batch, "lr": lr}, axis_name=axis_name)

  return run
