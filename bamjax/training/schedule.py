"""Learning rate schedules."""

import ml_collections
import optax

from bamjax.errors import UserError


def make_schedule(
  optim: ml_collections.ConfigDict, steps: int
) -> optax.Schedule:
  """Creates the learning rate schedule of a run.

  Args:
    optim: the configuration's `optim` group.
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
    # Decays at multiples of decay_every, also with a warm-up.
    body = optax.exponential_decay(
      peak, optim.decay_every, optim.decay_factor, staircase=True
    )
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
