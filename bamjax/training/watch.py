"""Detects that one of several processes is lost, and ends this one cleanly.

Otherwise this process would wait for the lost one until JAX's coordination
service aborts it, with stack traces and status 134. That is so with any
`heartbeat_timeout_seconds` of `jax.distributed.initialize`, and for the loss of
process 0 even with `jax_enable_recoverability`.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import ctypes
import itertools
import os
from pathlib import Path
import signal
import sys
import threading
import time
from typing import Any
from typing import NoReturn

import jax

from bamjax.errors import UserError

# The exit status, as after SIGTERM: the same command resumes. Some schedulers
# (Kubeflow's restart policy ExitCode) restart jobs with a status above 128.
LOST = 128 + signal.SIGTERM

_EVERY = 2.0  # seconds between two signs of life
# A process is lost after this many seconds without a sign of life: usually, and
# after an error. JAX's service waits for 100 seconds.
_SILENT, _SOON = 40.0, 8.0
_LINGER = 2 * _EVERY  # process 0 waits until the others detect the loss too
_KEY = "bamjax/alive/"


class Beats:
  """Records when other processes last showed a sign of life.

  Args:
    others: their process numbers.
    now: seconds of a monotonic clock.
  """

  def __init__(self, others: list[int], now: float):
    self._seen: dict[int, tuple[str | None, float]] = dict.fromkeys(
      others, (None, now)
    )

  def hear(self, signs: dict[int, str], now: float) -> None:
    """Records the processes whose sign of life has changed.

    Args:
      signs: the latest sign of life by process number.
      now: seconds of the same clock.
    """
    for process in self._seen:
      sign = signs.get(process)
      if sign is not None and sign != self._seen[process][0]:
        self._seen[process] = sign, now

  def lost(self, now: float, limit: float) -> list[int]:
    """Returns the processes that have been silent longer than `limit` seconds.

    Processes that fell silent later are not included: they ended because of the
    first one.
    """
    silent = {process: now - at for process, (_, at) in self._seen.items()}
    longest = max(silent.values(), default=0)
    if longest <= limit:
      return []
    return [i for i, for_ in silent.items() if for_ > longest - 2 * _EVERY]


@contextlib.contextmanager
def watched(resume: Callable[[], str]) -> Iterator[None]:
  """Ends this process if another one is lost while the context is open.

  It prints one line and exits immediately with status `LOST`, without waiting
  for the lost process.

  Args:
    resume: returns where the same command resumes, e.g. "step 40".
  """
  store = _store() if jax.process_count() > 1 else None
  if store is None:
    yield
    return
  watch = _Watch(store, resume)
  # The service aborts this process at once if process 0, where it runs, is
  # lost.
  with _on_abort(watch.wait):
    try:
      yield
    except UserError:
      raise
    except Exception:
      # If a lost process is the cause, wait() does not return.
      watch.wait()
      raise
    finally:
      watch.over = True


def _store() -> Any:
  """The key-value store that all processes share; None if there is none.

  It and its methods in `_exchanged` are private: JAX has no public ones.
  """
  from jax._src import distributed

  return distributed.global_state.client


def _exchanged(store: Any, process: int, sign: str) -> dict[int, str]:
  """Stores a process's sign of life; returns the latest of all processes.

  It blocks or fails if process 0, which holds the store, is lost.
  """
  store.key_value_set(f"{_KEY}{process}", sign, allow_overwrite=True)
  found = store.key_value_dir_get(_KEY)
  return {int(key.rpartition("/")[2]): value for key, value in found}


@contextlib.contextmanager
def _on_abort(call: Callable[[], None]) -> Iterator[None]:
  """Calls a function when C++ code aborts this process, before it ends.

  Python's own handlers run too late for that: when the code has returned.
  """
  handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda _: call())
  set_handler = ctypes.CDLL(None).signal
  set_handler.restype = ctypes.c_void_p
  set_handler.argtypes = [ctypes.c_int, ctypes.c_void_p]
  before = set_handler(
    signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p).value
  )
  try:
    yield
  finally:
    set_handler(signal.SIGABRT, before)


class _Watch:
  """Threads that send signs of life and check those of other processes."""

  def __init__(self, store: Any, resume: Callable[[], str]):
    self._store = store
    self._resume = resume
    self._me = jax.process_index()
    others = [i for i in range(jax.process_count()) if i != self._me]
    self._beats = Beats(others, time.monotonic())
    self._failed = False  # an error occurred
    self.over = False  # a lost process no longer matters
    self._reached = time.monotonic()  # last access to process 0's store
    for task in (self._beat, self._judge):
      threading.Thread(target=task, daemon=True).start()

  def wait(self) -> None:
    """Waits long enough to detect a lost process, which ends this one."""
    self._failed = True
    time.sleep(_SOON + 3 * _EVERY + _LINGER)

  def _beat(self) -> None:
    """Sends signs of life and receives those of the others, forever."""
    for count in itertools.count():
      with contextlib.suppress(Exception):
        signs = _exchanged(self._store, self._me, str(count))
        self._beats.hear(signs, time.monotonic())
        self._reached = time.monotonic()
      # Continues while JAX shuts down, since other processes still check.
      time.sleep(_EVERY)

  def _judge(self) -> None:
    while not self.over:
      time.sleep(_EVERY / 4)
      limit = _SOON if self._failed else _SILENT
      if time.monotonic() - self._reached > limit:
        lost = self._beats.lost(self._reached, _SOON)
        self._end(lost or [0])
      elif lost := self._beats.lost(time.monotonic(), limit):
        self._end(lost)

  def _end(self, lost: list[int]) -> NoReturn:
    names = ", ".join(map(str, lost))
    line = (
      f"{Path(sys.argv[0]).name}: error: process {names} of the"
      f" {jax.process_count()} is lost; the same command, with as many or fewer"
      f" processes, resumes from {self._resume()}\n"
    )
    # Not to sys.stderr, which another thread may have locked.
    with contextlib.suppress(OSError):
      os.write(2, line.encode(errors="replace"))
    if self._me == 0:
      time.sleep(_LINGER)
    os._exit(LOST)
