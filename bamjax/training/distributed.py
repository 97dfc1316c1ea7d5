"""Several processes that train one network, on one or more machines."""

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
      JAX detects nothing, or the other processes do not answer.
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


def is_primary() -> bool:
  """Whether this is process 0, which prints, logs and writes results."""
  return jax.process_index() == 0


def on_primary(call: Callable[[], _T]) -> _T | None:
  """Calls a function on process 0 only, while the other processes wait.

  Returns:
    The function's result on process 0, None on the others.

  Raises:
    UserError: the function raised one; the other processes then raise one that
      refers to process 0.
  """
  result = problem = None
  if is_primary():
    try:
      result = call()
    except UserError as error:
      problem = error
  if jax.process_count() > 1:
    failed = multihost_utils.broadcast_one_to_all(np.bool_(problem is not None))
    if failed and problem is None:
      raise UserError("process 0 failed; see its output")
  if problem is not None:
    raise problem
  return result


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
