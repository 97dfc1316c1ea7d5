"""The training step."""

from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import optax

from bamjax.training.state import TrainState

Batch = dict[str, jax.Array]


def train_step(
  state: TrainState,
  batch: Batch,
  axis_name: str | None = None,
  *,
  accumulate: int = 1,
  ema_decay: float = 0.0,
) -> TrainState:
  """Performs one Adam step on the L1 loss (paper, "Implementation details").

  Args:
    state: the run's state.
    batch: `lr` N×p×p×3 and `hr` N×sp×sp×3, uint8.
    axis_name: mapped axis over which gradients are averaged; None if the batch
      is not split over devices.
    accumulate: number of parts, a divisor of N, in which the batch is processed
      one after the other to save memory. The step equals that of the whole
      batch.
    ema_decay: decay of the moving average of the parameters, 0 ≤ decay < 1, if
      the state has one.

  Returns:
    The state after the step.
  """

  def loss_fn(params: Any, part: Batch) -> jax.Array:
    # Images are transferred as bytes, a quarter of float32's size, and scaled
    # to [0, 1] on the device.
    lr, hr = (part[k].astype(jnp.float32) / 255 for k in ("lr", "hr"))
    sr = state.apply_fn({"params": params}, lr)
    return jnp.mean(jnp.abs(sr - hr))

  gradient = jax.value_and_grad(loss_fn)
  if accumulate == 1:
    loss, grads = gradient(state.params, batch)
  else:
    parts = jax.tree.map(
      lambda x: x.reshape(accumulate, -1, *x.shape[1:]), batch
    )
    zero = jax.tree.map(jnp.zeros_like, (state.loss_sum, state.params))

    def add(total: Any, part: Batch) -> tuple[Any, None]:
      return jax.tree.map(jnp.add, total, gradient(state.params, part)), None

    total, _ = lax.scan(add, zero, parts)
    loss, grads = jax.tree.map(lambda x: x / accumulate, total)
  if axis_name is not None:
    loss, grads = lax.pmean((loss, grads), axis_name)
  good = jnp.isfinite(loss) & (state.finite_steps == state.step)
  state = state.apply_gradients(grads=grads)
  if state.ema is not None:
    average = optax.incremental_update(state.params, state.ema, 1 - ema_decay)
    state = state.replace(ema=average)
  return state.replace(
    loss_sum=state.loss_sum + loss,
    finite_steps=jnp.where(good, state.step, state.finite_steps),
  )
