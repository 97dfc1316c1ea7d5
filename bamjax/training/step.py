"""The training step."""

from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

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
    batch: `lr` N×p×p×3 and `hr` N×sp×sp×3, uint8. With a teacher, also its
      outputs, `taught`, N×sp×sp×3 float32 around [0, 1]; and `taught_weight`,
      (N,) float32 from 0 to 1: how much of a sample's loss is the L1 distance
      from them; the rest is that from HR.
    axis_name: mapped axis over which gradients are averaged; None if the batch
      is not split over devices.
    accumulate: number of parts, a divisor of N, in which the batch is processed
      one after the other to save memory. The step equals that of the whole
      batch.
    ema_decay: decay of the moving average of the parameters, 0 ≤ decay < 1, if
      the state has one; see `update_average`.

  Returns:
    The state after the step.
  """

  def loss_fn(params: Any, part: Batch) -> jax.Array:
    # Images are transferred as bytes, a quarter of float32's size, and scaled
    # to [0, 1] on the device.
    lr, hr = (part[k].astype(jnp.float32) / 255 for k in ("lr", "hr"))
    sr = state.apply_fn({"params": params}, lr)
    if "taught" not in part:
      return jnp.mean(jnp.abs(sr - hr))
    weight = part["taught_weight"][:, None, None, None]
    to_taught, to_hr = jnp.abs(sr - part["taught"]), jnp.abs(sr - hr)
    return jnp.mean(weight * to_taught + (1 - weight) * to_hr)

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
    state = state.replace(
      ema=update_average(state.ema, state.params, state.step, ema_decay)
    )
  return state.replace(
    loss_sum=state.loss_sum + loss,
    finite_steps=jnp.where(good, state.step, state.finite_steps),
  )


def update_average(
  average: Any, params: Any, step: jax.typing.ArrayLike, decay: float
) -> Any:
  """Updates a moving average of the parameters.

  The decay of step t = 1, 2, … is min(decay, (t − 1) / (t + 8)). Until it
  reaches `decay`, this is polynomial-decay averaging (Shamir & Zhang 2013,
  arXiv:1212.1824) with η = 8: about the last ninth of the steps counts. With a
  constant decay of 0.999, the random initial parameters would still count 37 %
  after 1,000 steps.

  Args:
    average: the average of the parameters after steps 1 to t − 1; ignored, but
      for rounding, if t is 1.
    params: the parameters after step t.
    step: t, a scalar.
    decay: the limit of the decay, 0 ≤ decay < 1.
  """
  rate = jnp.maximum(1 - decay, 9 / (jnp.asarray(step, jnp.float32) + 8))
  # In this form, the average of equal parameters is equal to them.
  return jax.tree.map(lambda a, p: a + rate * (p - a), average, params)
