"""The state of a run: everything that a checkpoint holds."""

from flax import linen as nn
from flax.training import train_state
import jax
import jax.numpy as jnp
import optax


class TrainState(train_state.TrainState):
  """Parameters, Adam's moments, the step, and the loss since the last log.

  The loss is summed on the device and saved with the rest, so that a resumed
  run logs the very rows that an uninterrupted one logs, and no step waits for
  the host.

  Attributes:
    loss_sum: float32 scalar, sum of the losses since the last log.
  """

  loss_sum: jax.Array


def create_state(
  module: nn.Module, schedule: optax.Schedule, seed: int, patch: int
) -> TrainState:
  """Initializes a run.

  Args:
    module: the backbone.
    schedule: learning rate by step.
    seed: of the parameters.
    patch: side of the LR patches.

  Returns:
    The state at step 0, parameters in float32.
  """
  # Parameters do not depend on the picture's size; a small one is cheap.
  example = jnp.zeros((1, min(patch, 16), min(patch, 16), 3))
  # A network's many random draws would take XLA's full optimisation tens of
  # seconds to compile, to run once.
  init = jax.jit(
    module.init, compiler_options={"xla_backend_optimization_level": 0}
  )
  variables = init(jax.random.key(seed), example)
  return TrainState.create(
    apply_fn=module.apply,
    params=variables["params"],
    tx=optax.adam(schedule),
    loss_sum=jnp.zeros(()),
  )
