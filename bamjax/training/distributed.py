"""Several processes that train one network, one or more to a machine."""

from collections.abc import Callable
import contextlib
import os
import re
import signal
from typing import TypeVar

import jax
from jax.experimental import multihost_utils
import numpy as np

from bamjax.errors import UserError

_T = TypeVar("_T")


def initialize(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
) -> None:
  """Joins the other processes; comes before any other use of JAX.

  Args:
    coordinator: HOST:PORT that process 0 listens on. Without arguments, JAX
      finds all three by SLURM, Open MPI, mpi4py, Kubernetes or a cloud's TPUs.
    num_processes: number of processes.
    process_id: 0 ≤ this process's number < num_processes.

  Raises:
    UserError: the three are not all given and not found either, or the other
      processes do not answer.
  """
  given = (coordinator, num_processes, process_id)
  if any(v is not None for v in given) and None in given:
    raise UserError(
      "--coordinator, --num_processes and --process_id belong together"
    )
  if coordinator is not None:
    match = re.fullmatch(r".+:(\d{1,5})", coordinator)
    if not match or not 1 <= int(match[1]) <= 65535:
      raise UserError(
        "--coordinator is HOST:PORT, e.g. node0:1234, with a port from 1 to"
        f" 65535; got {coordinator!r}"
      )
  if num_processes is not None and not 0 <= process_id < num_processes:
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
      f"the processes do not come together: {reason}; under SLURM, MPI or"
      " Kubernetes give --distributed alone, elsewhere --coordinator=HOST:PORT"
      " --num_processes=N --process_id=I"
    ) from error


def is_primary() -> bool:
  """Whether this process writes the logs."""
  return jax.process_index() == 0


def on_primary(call: Callable[[], _T]) -> _T | None:
  """Calls on process 0 alone; the others wait, and get None.

  Raises:
    UserError: the call raised one; on the other processes it says so.
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
      raise UserError("process 0 gave up; see what it says")
  if problem is not None:
    raise problem
  return result


def gather(values: np.ndarray) -> np.ndarray:
  """Arrays of the same shape from all processes, stacked by process."""
  if jax.process_count() == 1:
    return values[None]
  return np.asarray(multihost_utils.process_allgather(values))


class Signals:
  """Learns that SIGTERM, SIGINT or a closed terminal asks the run to stop.

  With one process, the next step knows. With several, JAX's own service catches
  SIGTERM, whichever process gets it, and names one step to all. A second SIGINT
  acts at once.
  """

  def __init__(self):
    self._number = None
    self._alone = jax.process_count() == 1

  @contextlib.contextmanager
  def caught(self):
    """Catches the signals while the context is open."""
    numbers = [signal.SIGINT, *([signal.SIGTERM] if self._alone else [])]
    # A terminal's end; under nohup, and on Windows, there is none.
    hangup = getattr(signal, "SIGHUP", None)
    if hangup and signal.getsignal(hangup) != signal.SIG_IGN:
      numbers.append(hangup)
    before = [signal.signal(number, self._handle) for number in numbers]
    try:
      yield
    finally:
      for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)

  def _handle(self, number, frame):
    del frame
    self._number = number
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if not self._alone:
      os.kill(os.getpid(), signal.SIGTERM)

  def stop(self, step: int) -> int | None:
    """The signal's number if all processes are to stop after this step.

    Must be called with the same steps by all processes.
    """
    if self._alone:
      return self._number
    if multihost_utils.reached_preemption_sync_point(step):
      return self._number or signal.SIGTERM
    return None
