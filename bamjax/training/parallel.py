"""Spreads a training step over devices. `pmap` lives here and nowhere else."""

from collections.abc import Callable
import functools

import jax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
import numpy as np

from bamjax.errors import UserError
from bamjax.training.state import TrainState
from bamjax.training.step import Batch

_AXIS = "batch"

Step = Callable[[TrainState, dict[str, np.ndarray]], TrainState]


def check_batch(batch_size: int) -> None:
  """Raises UserError unless the devices can share the global batch evenly."""
  devices = jax.device_count()
  if batch_size < 1 or batch_size % devices:
    raise UserError(
      f"batch_size={batch_size} cannot be shared by {devices} devices; choose"
      f" a multiple of {devices}"
    )


def parallelize(step: Callable[..., TrainState], kind: str = "pmap") -> Step:
  """Compiles a step that runs on all devices of all processes.

  Args:
    step: maps (state, batch, axis_name=…) to the next state.
    kind: "pmap", or "jit" over a batch that is sharded by `NamedSharding`, to
      which JAX itself is moving (`pmap` is in maintenance mode).

  Returns:
    A function of the state, which is replicated and donated, and of this
    process's share of the global batch, N/processes×…

  Raises:
    UserError: the kind is unknown.
  """
  if kind == "pmap":
    return _with_pmap(step)
  if kind == "jit":
    return _with_jit(step)
  raise UserError(f"unknown parallel {kind!r}; choose from pmap, jit")


def _with_pmap(step):
  mapped = jax.pmap(
    functools.partial(step, axis_name=_AXIS),
    axis_name=_AXIS,
    in_axes=(None, 0),
    out_axes=None,
    donate_argnums=0,
  )
  devices = jax.local_device_count()

  def run(state: TrainState, batch: Batch) -> TrainState:
    return mapped(
      state,
      {k: v.reshape(devices, -1, *v.shape[1:]) for k, v in batch.items()},
    )

  return run


def _with_jit(step):
  mesh = jax.make_mesh(
    (jax.device_count(),), (_AXIS,), axis_types=(jax.sharding.AxisType.Auto,)
  )
  sharded, replicated = NamedSharding(mesh, P(_AXIS)), NamedSharding(mesh, P())
  compiled = jax.jit(
    step,
    in_shardings=(replicated, sharded),
    out_shardings=replicated,
    donate_argnums=0,
  )

  def run(state: TrainState, batch: Batch) -> TrainState:
    arrays = {
      k: jax.make_array_from_process_local_data(sharded, v)
      for k, v in batch.items()
    }
    return compiled(state, arrays)

  return run
