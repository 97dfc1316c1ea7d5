"""Notices that a process of several is lost, and ends this one in one line.

Without it, one that waits for the lost one waits for JAX's service, which then
aborts it with the traces of its threads.
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
from typing import NoReturn

import jax

from bamjax.errors import UserError

# Above 128, as after SIGTERM: the same command resumes. Schedulers that tell
# failures apart (Kubeflow's ExitCode) start a job again at such a status.
LOST = 128 + signal.SIGTERM

_EVERY = 2.0  # seconds between two signs of life
# Seconds without one, after which a process counts as lost: as a rule, and when
# something has failed. JAX's service gives up after about a minute.
_SILENT, _SOON = 40.0, 8.0
_LINGER = 2 * _EVERY  # so that the others see the same before process 0 goes
_KEY = "bamjax/alive/"


class Beats:
  """When processes were last heard of.

  Args:
    others: their numbers.
    now: seconds on some clock.
  """

  def __init__(self, others: list[int], now: float):
    self._seen = dict.fromkeys(others, (None, now))

  def hear(self, signs: dict[int, str], now: float) -> None:
    """Notes each process's latest sign of life, where it is a new one."""
    for process in self._seen:
      sign = signs.get(process)
      if sign is not None and sign != self._seen[process][0]:
        self._seen[process] = sign, now

  def lost(self, now: float, limit: float) -> list[int]:
    """Processes silent for longer than `limit`.

    Those that fell silent later only ended because of the first.
    """
    silent = {process: now - at for process, (_, at) in self._seen.items()}
    longest = max(silent.values(), default=0)
    if longest <= limit:
      return []
    return [i for i, for_ in silent.items() if for_ > longest - 2 * _EVERY]


@contextlib.contextmanager
def watched(resume: Callable[[], str]) -> Iterator[None]:
  """Ends this process with one line if another one is lost meanwhile.

  Args:
    resume: tells where the same command resumes from, "step 40".

  Exits with status `LOST`, at once: nothing waits for the lost process.
  """
  # JAX has no public name for its own table of keys and values.
  from jax._src import distributed

  client = distributed.global_state.client
  if jax.process_count() == 1 or client is None:
    yield
    return
  watch = _Watch(client, resume)
  with watch.catches_abort():
    try:
      yield
    except UserError:
      raise
    except Exception:
      # Perhaps because a process is lost: then this does not return.
      watch.wait()
      raise
    finally:
      watch.over = True


class _Watch:
  """Threads that show that this process lives, and look for the others."""

  def __init__(self, client, resume: Callable[[], str]):
    self._client = client
    self._resume = resume
    self._me = jax.process_index()
    others = [i for i in range(jax.process_count()) if i != self._me]
    self._beats = Beats(others, time.monotonic())
    self._failed = False  # something has
    self.over = False  # losing a process no longer matters
    self._reached = time.monotonic()  # process 0's table
    for task in (self._beat, self._judge):
      threading.Thread(target=task, daemon=True).start()

  def wait(self) -> None:
    """Waits until a lost process would be known, which ends this one."""
    self._failed = True
    time.sleep(_SOON + 3 * _EVERY + _LINGER)

  @contextlib.contextmanager
  def catches_abort(self) -> Iterator[None]:
    """Has JAX's service wait too before it aborts this process.

    It does so where process 0, which it is part of, is lost.
    """
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda _: self.wait())
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

  def _beat(self) -> None:
    """Shows signs of life and hears the others', as long as there is a way."""
    for count in itertools.count():
      # Where process 0, which holds the table, is lost, this waits or fails.
      with contextlib.suppress(Exception):
        self._client.key_value_set(
          f"{_KEY}{self._me}", str(count), allow_overwrite=True
        )
        found = self._client.key_value_dir_get(_KEY)
        signs = {int(key.rpartition("/")[2]): value for key, value in found}
        self._beats.hear(signs, time.monotonic())
        self._reached = time.monotonic()
      # Goes on when all is over, in JAX's own farewell: others still look.
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
      f" {jax.process_count()} is lost; the same command, of as many processes"
      f" or fewer, resumes from {self._resume()}\n"
    )
    # Not through Python's stderr, which another thread may hold.
    with contextlib.suppress(OSError):
      os.write(2, line.encode(errors="replace"))
    if self._me == 0:
      time.sleep(_LINGER)
    os._exit(LOST)
