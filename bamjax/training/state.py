"""The state of a run: everything that a checkpoint holds."""

from collections.abc import Mapping
from typing import Any
from typing import Self

from flax import linen as nn
from flax.training import train_state
import jax
import jax.numpy as jnp
import numpy as np
import optax

from bamjax.errors import UserError


class TrainState(train_state.TrainState):
  """Parameters, Adam's moments, the step, and what the next log needs.

  The loss is summed on the device and saved with the rest, so that a resumed
  run logs the very rows that an uninterrupted one logs, and no step waits for
  the host.

  Attributes:
    loss_sum: float32 scalar, sum of the losses since the last log.
    finite_steps: int32 scalar, the steps before the first loss that was not
      finite; equals `step` as long as all are.
    ema: moving average of the parameters; None where none is kept.
  """

  loss_sum: jax.Array
  finite_steps: jax.Array
  ema: Any = None

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
  """Initializes a run.

  Args:
    module: the backbone.
    schedule: learning rate by step.
    seed: of the parameters.
    patch: side of the LR patches.
    clip_norm: largest global norm of the gradient; 0 does not clip.
    ema: whether a moving average of the parameters is kept.

  Returns:
    The state at step 0, parameters in float32.

  Raises:
    UserError: the backbone's hyper-parameters do not fit together.
  """
  # Parameters do not depend on the image's size; a small one is cheap.
  side = min(patch, 16)
  example = jnp.zeros((1, side, side, 3), jnp.float32)
  # A network's many random draws would take XLA's full optimisation tens of
  # seconds to compile, to run once.
  init = jax.jit(
    module.init, compiler_options={"xla_backend_optimization_level": 0}
  )
  # Generator and width named, so that no setting of JAX's makes other numbers.
  key = jax.random.key(np.uint32(seed % 2**32), impl="threefry2x32")
  try:
    params = init(key, example)["params"]
  except ValueError as error:  # of a layer, to which its sizes do not fit
    raise UserError(f"there is no such network: {error}") from error
  return state_of(module, params, schedule, clip_norm=clip_norm, ema=ema)


def state_of(
  module: nn.Module,
  params: Any,
  schedule: optax.Schedule,
  *,
  clip_norm: float = 0.0,
  ema: bool = False,
) -> TrainState:
  """The state at step 0 of given parameters; arguments as `create_state` has.

  May be traced, as by `jax.eval_shape`.
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
  # A strong type, as a restored one has: one program serves both.
  state = state.replace(step=jnp.zeros((), jnp.int32))
  return with_params(state, params, ema=ema)


def with_params(state: TrainState, params, *, ema: bool) -> TrainState:
  """A state of new parameters, from which their average starts, if any."""
  # Copies, since a step donates both.
  average = jax.tree.map(jnp.copy, params) if ema else None
  return state.replace(params=params, ema=average)
