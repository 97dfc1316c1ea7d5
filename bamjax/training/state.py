"""The training state, which checkpoints store."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import Self

from flax import linen as nn
from flax import struct
from flax.training import train_state
import jax
import jax.numpy as jnp
import numpy as np
import optax

from bamjax.errors import UserError


class Teacher(struct.PyTreeNode):
  """A network whose outputs another one learns.

  Attributes:
    params: its parameters, which are neither trained nor saved.
    apply_fn: maps {"params": …} and RGB in [0, 1] to float32 RGB.
  """

  params: Any
  apply_fn: Callable[..., Any] = struct.field(pytree_node=False)


class TrainState(train_state.TrainState):
  """Parameters, Adam's moments, the step, and the loss for the next log.

  The loss is summed on the device, so that no step waits for the host, and
  saved in checkpoints, so that a resumed run logs the same rows as an
  uninterrupted one.

  Attributes:
    loss_sum: float32 scalar, sum of the losses since the last log.
    finite_steps: int32 scalar, number of steps before the first loss that was
      not finite; equals `step` as long as all losses are finite.
    ema: moving average of the parameters; None if the run keeps none.
    teacher: the network to learn from besides HR; None if there is none.
  """

  loss_sum: jax.Array
  finite_steps: jax.Array
  ema: Any = None
  teacher: Teacher | None = None

  def averaged(self) -> Any:
    """Returns the average of the parameters, or else the parameters."""
    return self.params if self.ema is None else self.ema

  def to_tree(self) -> dict[str, Any]:
    """Returns everything that a checkpoint stores, by name."""
    tree = {
      "step": self.step,
      "params": self.params,
      "opt_state": self.opt_state,
      "loss_sum": self.loss_sum,
    }
    if self.ema is not None:
      tree["ema"] = self.ema
    return tree

  def from_tree(self, tree: Mapping[str, Any]) -> Self:
    """Returns this state with what `to_tree` returned for another one."""
    # Only states whose losses were all finite are saved.
    return self.replace(**tree, finite_steps=jnp.copy(tree["step"]))


def create_state(
  module: nn.Module,
  schedule: optax.Schedule,
  seed: int,
  patch: int,
  *,
  clip_norm: float = 0.0,
  ema: bool = False,
) -> TrainState:
  """Initializes the state of a run.

  Args:
    module: the network.
    schedule: learning rate as a function of the step.
    seed: determines the initial parameters.
    patch: side of the LR patches in pixels.
    clip_norm: maximum global norm of the gradient; 0 disables clipping.
    ema: whether to keep a moving average of the parameters.

  Returns:
    The state at step 0, with float32 parameters.

  Raises:
    UserError: the network's hyper-parameters do not fit together.
  """
  # Parameters do not depend on the image's size: a small image suffices.
  side = min(patch, 16)
  example = jnp.zeros((1, side, side, 3), jnp.float32)
  # With full optimization, XLA would take tens of seconds to compile the many
  # random draws, which run only once.
  init = jax.jit(
    module.init, compiler_options={"xla_backend_optimization_level": 0}
  )
  # The generator and the width are explicit: JAX's settings must not change the
  # numbers.
  key = jax.random.key(np.uint32(seed % 2**32), impl="threefry2x32")
  try:
    params = init(key, example)["params"]
  except ValueError as error:  # raised by a layer with invalid sizes
    raise UserError(f"this network cannot be built: {error}") from error
  return state_of(module, params, schedule, clip_norm=clip_norm, ema=ema)


def state_of(
  module: nn.Module,
  params: Any,
  schedule: optax.Schedule,
  *,
  clip_norm: float = 0.0,
  ema: bool = False,
) -> TrainState:
  """Returns the state at step 0 for existing parameters. Can be traced by JAX.

  Args:
    module: the network.
    params: its parameters.
    schedule: learning rate as a function of the step.
    clip_norm: maximum global norm of the gradient; 0 disables clipping.
    ema: whether to keep a moving average of the parameters.
  """
  tx = optax.adam(schedule)
  if clip_norm:
    tx = optax.chain(optax.clip_by_global_norm(clip_norm), tx)
  state = TrainState.create(
    apply_fn=module.apply,
    params=params,
    tx=tx,
    loss_sum=jnp.zeros((), jnp.float32),
    finite_steps=jnp.zeros((), jnp.int32),
  )
  # A strongly typed step, like a restored one: both use the same program.
  state = state.replace(step=jnp.zeros((), jnp.int32))
  return with_params(state, params, ema=ema)


def with_params(state: TrainState, params: Any, *, ema: bool) -> TrainState:
  """Returns a state with new parameters.

  Args:
    state: the state.
    params: the new parameters.
    ema: whether to start a moving average from them.
  """
  # A copy, since the training step donates both.
  average = jax.tree.map(jnp.copy, params) if ema else None
  return state.replace(params=params, ema=average)
