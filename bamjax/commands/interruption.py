"""What signals do to a command.

After Ctrl-C, it ends with one line, status 130, and no traceback. SIGTERM, or a
closed terminal, ends it at once, and leaves no part of a file.

Python's own handler raises KeyboardInterrupt wherever the program is. In the
import of an extension module that ends in its errors or in a crash; in a
callback, such as JAX's at garbage collection, it is printed and forgotten; and
Python's shutdown can crash while XLA's threads still run a program.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

_STATUS = 128 + signal.SIGINT
_RETRY = 0.05  # seconds

_ours = False  # whether this process is a command's, not another program's
_happened = False
_parts: set[Path] = set()  # those of files that are being written


def end_at_once() -> None:
  """From now on, Ctrl-C ends the process immediately.

  For the time before a command has begun anything, while modules are imported.
  Does nothing where Ctrl-C is ignored, as in a shell's background jobs.
  """
  global _ours
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    _ours = True
    signal.signal(signal.SIGINT, lambda *_: leave())


def unwind() -> None:
  """From now on, Ctrl-C raises KeyboardInterrupt, so that work is cleaned up.

  Does nothing if `end_at_once` was not called or did nothing.
  """
  if _ours:
    signal.signal(signal.SIGINT, _raise)


def handle_signals() -> None:
  """From now on, the library's long work and its files learn of signals."""
  from bamjax import files  # a longer import
  from bamjax import stopping

  files.guard = _removed_if_ended
  stopping.caught = _passed_on


@contextlib.contextmanager
def _passed_on(
  handle: Callable[[int], bool], terminate: bool
) -> Iterator[None]:
  """See `stopping.caught`."""

  def catch(number: int, frame: FrameType | None) -> None:
    del frame
    if handle(number):
      signal.signal(signal.SIGINT, signal.SIG_DFL)

  numbers = [signal.SIGINT, *([signal.SIGTERM] if terminate else [])]
  # The terminal was closed. Windows has no SIGHUP, and nohup ignores it.
  hangup = getattr(signal, "SIGHUP", None)
  if hangup and signal.getsignal(hangup) != signal.SIG_IGN:
    numbers.append(hangup)
  before = [signal.signal(number, catch) for number in numbers]
  try:
    yield
  finally:
    for number, handler in zip(numbers, before, strict=True):
      signal.signal(number, handler)


@contextlib.contextmanager
def _removed_if_ended(part: Path) -> Iterator[None]:
  """Removes a file if SIGTERM, or a closed terminal, ends the process.

  Only while the context is open, so that at any other time these signals end it
  without waiting for the Python interpreter.
  """
  caught: list[int] = []
  _parts.add(part)
  # Python allows handlers in the main thread only.
  if threading.current_thread() is threading.main_thread() and not _is_jaxs():
    for name in ("SIGTERM", "SIGHUP"):
      number = getattr(signal, name, None)  # Windows has no SIGHUP
      if number and signal.getsignal(number) == signal.SIG_DFL:
        signal.signal(number, _end)
        caught.append(number)
  try:
    yield
  finally:
    for number in caught:
      signal.signal(number, signal.SIG_DFL)
    _parts.discard(part)


def _is_jaxs() -> bool:
  """Whether JAX handles SIGTERM, which Python does not know of.

  It lets several processes that train together stop after the same step.
  """
  jax = sys.modules.get("jax")
  return jax is not None and jax.distributed.is_initialized()


def _end(number: int, frame: FrameType | None) -> None:
  del frame
  for part in tuple(_parts):
    with contextlib.suppress(OSError):
      part.unlink()
  signal.signal(number, signal.SIG_DFL)
  os.kill(os.getpid(), number)


def happened() -> bool:
  """Whether Ctrl-C has raised KeyboardInterrupt; it may have become another."""
  return _happened


def again() -> None:
  """Repeats a KeyboardInterrupt that ended nowhere, out of a callback."""
  if _ours:
    timer = threading.Timer(_RETRY, os.kill, (os.getpid(), signal.SIGINT))
    timer.daemon = True
    timer.start()


def leave() -> NoReturn:
  """Prints "interrupted" and ends the process with status 130.

  A command's process ends without Python's shutdown.
  """
  if not _ours:
    print("interrupted", file=sys.stderr)
    sys.exit(_STATUS)
  for stream in (sys.stdout, sys.stderr):
    try:
      stream.flush()
    except (AttributeError, OSError, RuntimeError, ValueError):
      pass  # closed, or interrupted while it was written
  try:
    os.write(2, b"interrupted\n")
  except OSError:
    pass
  os._exit(_STATUS)


def _raise(number: int, frame: FrameType | None) -> NoReturn:
  del number, frame
  global _happened
  _happened = True
  raise KeyboardInterrupt
