"""Runs training on several devices. Only this file uses `pmap`."""

from collections.abc import Callable
import functools
from typing import TypeVar

import jax
from jax import lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
import numpy as np

from bamjax.data import resident
from bamjax.data.sampling import Extras
from bamjax.data.sampling import NONE
from bamjax.errors import UserError
from bamjax.training.state import TrainState

_AXIS = "batch"
KINDS = ("pmap", "jit")

_T = TypeVar("_T")
_In = TypeVar("_In")

Step = Callable[[TrainState, dict[str, np.ndarray]], TrainState]
# Trains for a number of steps.
Advance = Callable[[TrainState, int], TrainState]


def check(kind: str, batch_size: int, accumulate: int = 1) -> None:
  """Checks that the global batch can be split evenly over the devices.

  Args:
    kind: the configuration's `parallel`.
    batch_size: global batch size.
    accumulate: number of parts of each device's share.

  Raises:
    UserError: it cannot, or `kind` is unknown.
  """
  if kind not in KINDS:
    raise UserError(
      f"unknown parallel {kind!r}; choose from {', '.join(KINDS)}"
    )
  devices = jax.device_count()
  if batch_size < 1 or batch_size % (devices * accumulate):
    parts = f" in {accumulate} parts each" if accumulate > 1 else ""
    raise UserError(
      f"batch_size={batch_size} cannot be split evenly over {devices}"
      f" devices{parts}; choose a multiple of {devices * accumulate}"
    )


def replicate(tree: _T) -> _T:
  """Copies a tree of arrays, equal in all processes, to every device."""
  sharding = NamedSharding(_mesh(), P())
  return jax.tree.map(
    lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)),
    tree,
  )


def local(tree: _T) -> _T:
  """Returns this process's copy of a replicated tree."""
  return jax.tree.map(lambda x: x.addressable_data(0), tree)


def shared(tree: _T) -> _T:
  """Returns a replicated tree as arrays on the devices of all processes.

  Checkpoints need that, while `pmap` returns arrays on this process's devices
  only.
  """
  one_process = jax.process_count() == 1
  return tree if one_process else replicate(local(tree))


def parallelize(step: Callable[..., TrainState], kind: str = "pmap") -> Step:
  """Compiles a step that runs on all devices of all processes.

  Args:
    step: maps (state, batch, axis_name=…) to the next state.
    kind: "pmap", or "jit" over a batch sharded by `NamedSharding`, which JAX
      recommends (`pmap` is in maintenance mode).

  Returns:
    A function that maps the state, which is replicated and donated, and this
    process's share of the global batch, N/processes×…, to the next state.
  """
  return _bounded(_with_pmap(step) if kind == "pmap" else _with_jit(step))


def _bounded(
  run: Callable[[TrainState, _In], TrainState],
) -> Callable[[TrainState, _In], TrainState]:
  """Makes each call wait for its result if several CPU devices work together.

  They share a pool of threads, each of which a collective blocks until all
  devices have joined it. With many steps in flight, no thread is left for the
  last device, and XLA aborts the process after 40 seconds.
  """
  if jax.default_backend() != "cpu" or jax.device_count() == 1:
    return run
  return lambda state, given: jax.block_until_ready(run(state, given))


def _with_pmap(step: Callable[..., TrainState]) -> Step:
  mapped = jax.pmap(
    functools.partial(step, axis_name=_AXIS),
    axis_name=_AXIS,
    in_axes=(None, 0),
    out_axes=None,
    donate_argnums=0,
  )
  devices = jax.local_device_count()

  def run(state: TrainState, batch: dict[str, np.ndarray]) -> TrainState:
    return mapped(
      state,
      {k: v.reshape(devices, -1, *v.shape[1:]) for k, v in batch.items()},
    )

  return run


def _mesh() -> jax.sharding.Mesh:
  return jax.make_mesh(
    (jax.device_count(),), (_AXIS,), axis_types=(jax.sharding.AxisType.Auto,)
  )


def _with_jit(step: Callable[..., TrainState]) -> Step:
  mesh = _mesh()
  sharded, replicated = NamedSharding(mesh, P(_AXIS)), NamedSharding(mesh, P())
  compiled = jax.jit(
    step,
    in_shardings=(replicated, sharded),
    out_shardings=replicated,
    donate_argnums=0,
  )

  def run(state: TrainState, batch: dict[str, np.ndarray]) -> TrainState:
    arrays = {
      k: jax.make_array_from_process_local_data(sharded, v)
      for k, v in batch.items()
    }
    return compiled(state, arrays)

  return run


def parallelize_resident(
  step: Callable[..., TrainState],
  data: resident.Resident,
  kind: str = "pmap",
  *,
  seed: int,
  batch_size: int,
  patch: int,
  extras: Extras = NONE,
) -> Advance:
  """Compiles steps that cut their batches from images on the device.

  Args:
    step: maps (state, batch, axis_name=…) to the next state.
    data: the images; every device gets a copy.
    kind: see `parallelize`. Several processes always use "jit", since `pmap`
      would copy the images in every call.
    seed: determines the order, places, flips and turns of the samples.
    batch_size: global batch size.
    patch: side of the LR patches in pixels.
    extras: what else is drawn.

  Returns:
    A function that maps the state, which is replicated and donated, and a
    number of steps to the state after them, in one call.
  """
  devices = jax.device_count()
  data = replicate(data)

  def advance(
    state: TrainState, data: resident.Resident, count: int
  ) -> TrainState:
    shard = lax.axis_index(_AXIS), devices

    def one(state: TrainState, _: None) -> tuple[TrainState, None]:
      batch = resident.sample_batch(
        *(data, seed, state.step),
        batch_size=batch_size,
        patch=patch,
        shard=shard,
        extras=extras,
      )
      return step(state, batch, axis_name=_AXIS), None

    if count == 1:  # convolutions in a loop are slow on the CPU
      return one(state, None)[0]
    return lax.scan(one, state, length=count)[0]

  if kind == "pmap" and jax.process_count() == 1:
    # pmap needs a mapped argument: the indices of the devices.
    mapped = jax.pmap(
      lambda state, data, _, count: advance(state, data, count),
      axis_name=_AXIS,
      in_axes=(None, None, 0),
      out_axes=None,
      donate_argnums=0,
      static_broadcasted_argnums=3,
    )
    numbers = np.arange(jax.local_device_count())
    return _bounded(lambda state, count: mapped(state, data, numbers, count))

  @functools.partial(jax.jit, static_argnums=2, donate_argnums=0)
  def sharded(
    state: TrainState, data: resident.Resident, count: int
  ) -> TrainState:
    return jax.shard_map(
      functools.partial(advance, count=count),
      mesh=_mesh(),
      in_specs=P(),
      out_specs=P(),
      check_vma=False,
    )(state, data)

  return _bounded(lambda state, count: sharded(state, data, count))
