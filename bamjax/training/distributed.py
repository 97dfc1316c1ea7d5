"""Several processes that train one network, on one or more machines."""

import collections
from collections.abc import Callable
import contextlib
import os
import re
import signal
from typing import TypeVar

import jax
from jax.experimental import multihost_utils
import numpy as np

from bamjax import stopping
from bamjax.errors import UserError

_T = TypeVar("_T")


def initialize(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
) -> None:
  """Connects to the other processes. Call it before any other use of JAX.

  Without arguments, JAX detects all three from SLURM, Open MPI, mpi4py,
  Kubernetes or a cloud's TPUs.

  Args:
    coordinator: HOST:PORT on which process 0 listens.
    num_processes: number of processes.
    process_id: number of this process, 0 ≤ process_id < num_processes.

  Raises:
    UserError: only some arguments are given, one is invalid, none is given and
      JAX detects nothing, the other processes do not answer, or they have other
      numbers of devices.
  """
  if coordinator is None or num_processes is None or process_id is None:
    if (coordinator, num_processes, process_id) != (None, None, None):
      raise UserError(
        "--coordinator, --num_processes and --process_id must be used together"
      )
  else:
    match = re.fullmatch(r".+:(\d{1,5})", coordinator)
    if not match or not 1 <= int(match[1]) <= 65535:
      raise UserError(
        "--coordinator must be HOST:PORT, e.g. node0:1234, with a port from 1"
        f" to 65535; got {coordinator!r}"
      )
    if not 0 <= process_id < num_processes:
      raise UserError(
        f"--process_id must be from 0 to {num_processes - 1}; got {process_id}"
      )
  try:
    jax.distributed.initialize(
      coordinator, num_processes=num_processes, process_id=process_id
    )
  except (RuntimeError, ValueError) as error:
    reason = " ".join(str(error).split())[:200]
    raise UserError(
      f"cannot connect the processes: {reason}; under SLURM, MPI or Kubernetes"
      " use --distributed alone, elsewhere --coordinator=HOST:PORT"
      " --num_processes=N --process_id=I"
    ) from error
  counts = collections.Counter(d.process_index for d in jax.devices())
  if len(set(counts.values())) > 1:
    listed = ", ".join(f"{n} on process {i}" for i, n in sorted(counts.items()))
    raise UserError(
      f"the processes have different numbers of devices ({listed}); give each"
      " of them as many"
    )


def is_primary() -> bool:
  """Whether this is process 0, which prints, logs and writes results."""
  return jax.process_index() == 0


def together(call: Callable[[], _T]) -> _T:
  """Calls a function on all processes; an error on one is an error on all.

  Args:
    call: a function that does not wait for other processes.

  Raises:
    UserError: the function raised one, on this process or on another.
  """
  problem = None
  try:
    result = call()
  except UserError as error:
    problem = error
  if jax.process_count() > 1:
    for process, text in enumerate(exchange(str(problem or ""))):
      if text and problem is None:
        raise UserError(f"process {process} failed: {text}")
  if problem is not None:
    raise problem
  return result


def on_primary(call: Callable[[], _T]) -> _T | None:
  """Calls a function on process 0 only, while the other processes wait.

  Returns:
    The function's result on process 0, None on the others.

  Raises:
    UserError: the function raised one; all processes then do.
  """
  return together(call if is_primary() else lambda: None)


def from_primary(tree: _T) -> _T:
  """Returns process 0's values of a tree of arrays, on all processes."""
  if jax.process_count() == 1:
    return tree
  return multihost_utils.broadcast_one_to_all(tree)


def exchange(text: str) -> list[str]:
  """Returns the texts of all processes, by process number."""
  if jax.process_count() == 1:
    return [text]
  data = np.frombuffer(text.encode(errors="backslashreplace"), np.uint8)
  sizes = gather(np.array(data.size, np.int32)).tolist()
  rows = gather(np.pad(data, (0, max(1, *sizes) - data.size)))
  pairs = zip(rows, sizes, strict=True)
  return [row[:size].tobytes().decode() for row, size in pairs]


def gather(values: np.ndarray) -> np.ndarray:
  """Stacks an array of all processes, of the same shape, along a new axis 0."""
  if jax.process_count() == 1:
    return values[None]
  return np.asarray(multihost_utils.process_allgather(values))


def highest(value: int) -> int:
  """Returns the highest of the values that all processes pass."""
  return int(gather(np.array([value])).max())


class Signals:
  """Detects SIGTERM, SIGINT or a closed terminal, which stop the run.

  A single process stops after its next step. With several processes, JAX's
  coordination service catches SIGTERM in any of them and chooses one step for
  all to stop after. A second SIGINT ends the process immediately.
  """

  def __init__(self) -> None:
    self._number: int | None = None
    self._alone = jax.process_count() == 1

  def caught(self) -> contextlib.AbstractContextManager[None]:
    """Catches the signals while the context is open, in a command."""
    return stopping.caught(self._handle, self._alone)

  def _handle(self, number: int) -> bool:
    self._number = number
    if not self._alone:
      os.kill(os.getpid(), signal.SIGTERM)
    return True

  def stop(self, step: int) -> int | None:
    """Returns the signal's number if all processes must stop after this step.

    Every process must call it after the same steps.
    """
    if self._alone:
      return self._number
    if multihost_utils.reached_preemption_sync_point(step):
      return self._number or signal.SIGTERM
    return None
