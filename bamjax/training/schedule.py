"""Learning rate schedules."""

import jax
import jax.numpy as jnp
import optax

from bamjax.errors import UserError
from bamjax.runs.recipe import Optim


def make_schedule(optim: Optim, steps: int) -> optax.Schedule:
  """Creates the learning rate schedule of a run.

  Args:
    optim: the recipe's `optim` group.
    steps: length of the run.

  Returns:
    The learning rate as a function of the step (0 for the first update). "step"
    is the paper's, `learning_rate · decay_factor^(step // decay_every)`;
    "cosine" decays to 0 at `steps`. Both can start with a linear warm-up.

  Raises:
    UserError: the schedule is unknown.
  """
  peak, warmup = optim.learning_rate, optim.warmup_steps
  if optim.schedule == "step":
    body = _staircase(peak, optim.decay_every, optim.decay_factor)
  elif optim.schedule == "cosine":
    body = optax.cosine_decay_schedule(peak, steps)
  else:
    raise UserError(
      f"unknown schedule {optim.schedule!r}; choose from step, cosine"
    )
  if not warmup:
    return body
  ramp = optax.linear_schedule(0.0, 1.0, warmup)
  return lambda step: ramp(step) * body(step)


def _staircase(peak: float, every: int, factor: float) -> optax.Schedule:
  """Decays at multiples of `every`, also with a warm-up.

  Counts in integers: `optax.exponential_decay` divides in float32, and for many
  values of `every` a compiled program rounds 1 to less than 1.
  """

  def schedule(step: jax.typing.ArrayLike) -> jax.Array:
    decays = jnp.asarray(step, jnp.int32) // every
    return peak * jnp.power(factor, decays.astype(jnp.float32))

  return schedule
