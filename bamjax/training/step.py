"""One step of training."""

import jax
from jax import lax
import jax.numpy as jnp

from bamjax.training.state import TrainState

Batch = dict[str, jax.Array]


def train_step(
  state: TrainState, batch: Batch, axis_name: str | None = None
) -> TrainState:
  """One Adam step on the L1 loss (paper, "Implementation details").

  Args:
    state: the run's state.
    batch: `lr` N×p×p×3 and `hr` N×sp×sp×3, uint8.
    axis_name: mapped axis over which the gradients are averaged; None where
      the batch is whole.

  Returns:
    The state after the step.
  """
  # Pictures travel as bytes, a quarter of float32's traffic, and become [0, 1]
  # on the device.
  lr = batch["lr"].astype(jnp.float32) / 255
  hr = batch["hr"].astype(jnp.float32) / 255

  def loss_fn(params):
    sr = state.apply_fn({"params": params}, lr)
    return jnp.mean(jnp.abs(sr - hr))

  loss, grads = jax.value_and_grad(loss_fn)(state.params)
  if axis_name is not None:
    loss, grads = lax.pmean((loss, grads), axis_name)
  state = state.apply_gradients(grads=grads)
  return state.replace(loss_sum=state.loss_sum + loss)
