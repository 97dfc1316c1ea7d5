"""Files that are written completely or not at all, and locks."""

from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import errno
import json
import math
import os
from pathlib import Path
import secrets
import shutil
import signal
import sys
import threading
from types import FrameType
from typing import Any
from typing import IO

from bamjax.errors import UserError

if sys.platform == "win32":
  import msvcrt
else:
  import fcntl


# errno values of a replacement that fails because of the one file it replaces:
# it is immutable, another user's in a folder like /tmp, or open on Windows.
_HELD = (errno.EPERM, errno.EACCES, errno.EBUSY)


class HeldError(UserError):
  """A file can't be replaced, though its folder can be written."""


def readable(name: str | Path) -> str:
  """Returns a file's name as text: what is not UTF-8 becomes `\\udce9`."""
  return str(name).encode("utf-8", "backslashreplace").decode()


def identity(path: str | Path) -> tuple[int, int] | None:
  """Identifies the file that a path leads to; None if there is none.

  Paths of one file have one identity: links, hard links, `..`, and other case
  on a disk that ignores it.
  """
  try:
    status = os.stat(path)
  except (OSError, ValueError):
    return None
  return status.st_dev, status.st_ino


def refuse_overwriting(
  target: str | Path, read: Iterable[str | Path], flag: str = "--output"
) -> None:
  """Checks that the file to write is none of those that are read.

  Args:
    target: the file to write.
    read: files, and folders, of which every file counts. Paths that do not
      exist are ignored.
    flag: which flag the user should change.

  Raises:
    UserError: it is one of them, by any path.
  """
  taken = identity(target)
  if taken is None:
    return
  for path in read:
    inside = (
      os.path.join(folder, name)
      for folder, _, names in os.walk(path)
      for name in names
    )
    for file in (path, *inside):
      if identity(file) == taken:
        raise UserError(
          f"{target} would be written over {file}, which is read; use another"
          f" {flag}"
        )


def check_target(path: Path) -> None:
  """Checks the name of a file to write, before the work.

  Raises:
    UserError: something other than a file has the name, or it is too long.
  """
  try:
    if path.exists() and not path.is_file():
      raise UserError(f"{path} is not a file; use another name")
    # In an existing folder: a missing one would hide that a name is too long.
    folder = next(p for p in path.absolute().parents if p.exists())
    os.lstat(folder / path.name)
  except OSError as error:
    if error.errno == errno.ENAMETOOLONG:
      raise UserError(f"{path} cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
  """Yields a temporary file that replaces `path` if the block succeeds.

  The folder is created if necessary. The temporary file is in the same folder
  and has the suffix of `path` if that is short. A replaced file passes on its
  mode, and a link remains a link.

  Raises:
    HeldError: the existing file can't be replaced.
    UserError: the file can't be written, or the block raised an OSError.
  """
  temporary = None
  try:
    # Otherwise a link would be replaced, not its file.
    final = Path(os.path.realpath(path))
    check_target(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = new_file(final)
    with _removed_if_ended(temporary):
      yield temporary
      if final.exists():
        shutil.copymode(final, temporary)
      try:
        os.replace(temporary, final)
      except OSError as error:
        if error.errno not in _HELD:
          raise
        raise HeldError(
          f"{path} cannot be replaced: {error.strerror}; use another name"
        ) from None
    temporary = None
  except OSError as error:
    raise UserError(
      f"{path} cannot be written: {error.strerror or error}; use another folder"
    ) from None
  finally:
    if temporary:
      temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _removed_if_ended(path: Path) -> Iterator[None]:
  """Removes a file if SIGTERM, or a closed terminal, ends the process.

  Only while the context is open, so that at any other time these signals end it
  without waiting for the Python interpreter.
  """
  caught: list[int] = []

  def end(number: int, frame: FrameType | None) -> None:
    del frame
    path.unlink(missing_ok=True)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)

  # Python allows handlers in the main thread only.
  if threading.current_thread() is threading.main_thread():
    for name in ("SIGTERM", "SIGHUP"):
      number = getattr(signal, name, None)  # Windows has no SIGHUP
      if number and signal.getsignal(number) == signal.SIG_DFL:
        signal.signal(number, end)
        caught.append(number)
  try:
    yield
  finally:
    for number in caught:
      signal.signal(number, signal.SIG_DFL)


def new_file(path: Path) -> Path:
  """Creates an empty file in the folder of `path`, with the default mode.

  Its name is short, as that of `path` may be as long as the disk allows.
  """
  while True:
    name = f".{secrets.token_hex(6)}{path.suffix[-16:]}"
    with contextlib.suppress(FileExistsError):
      path.with_name(name).open("xb").close()
      return path.with_name(name)


class _Untouched(Exception):
  """Leaves `replacing` before anything is replaced."""


def check_writable(path: Path) -> None:
  """Checks that a file can be written, before the work that fills it.

  Creates its folder, and leaves an existing file as it is.

  Raises:
    UserError: it can't be written.
  """
  with contextlib.suppress(_Untouched), replacing(path):
    raise _Untouched


def write_atomically(path: Path, text: str) -> None:
  """Writes a text file completely or not at all, and creates its folder.

  The encoding is UTF-8. Bytes of file names that are not UTF-8 are written as
  `\\udc80` to `\\udcff`.

  Raises:
    UserError: it can't be written.
  """
  with replacing(path) as temporary:
    temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def to_json(value: Any, **options: Any) -> str:
  """Returns JSON with null for NaN and infinities, which JSON lacks.

  Args:
    value: dicts, lists, tuples, strings and numbers.
    **options: arguments of `json.dumps`.
  """

  def finite(value: Any) -> Any:
    if isinstance(value, dict):
      return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
      return [finite(item) for item in value]
    infinite = isinstance(value, float) and not math.isfinite(value)
    return None if infinite else value

  return json.dumps(finite(value), allow_nan=False, **options)


def lock(file: IO[Any], wait: bool) -> bool:
  """Locks a file against other processes, until it is closed.

  Args:
    file: an open file.
    wait: whether to wait while another process holds the lock.

  Returns:
    Whether the file is locked; False if another process holds it and `wait` is
    false.

  Raises:
    OSError: the disk does not support locks.
  """
  held = errno.EAGAIN, errno.EACCES, errno.EDEADLK
  while True:
    try:
      _lock(file, wait)
      return True
    except OSError as error:
      if error.errno not in held:
        raise
      if not wait:
        return False


if sys.platform == "win32":

  def _lock(file: IO[Any], wait: bool) -> None:
    # Locks the first byte, and waits for at most ten seconds.
    file.seek(0)
    kind = msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK
    msvcrt.locking(file.fileno(), kind, 1)

else:

  def _lock(file: IO[Any], wait: bool) -> None:
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
