"""Files written whole or not at all, never over what was read; and locks."""

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
import sys
from typing import Any
from typing import IO

from bamjax.errors import UserError

if sys.platform == "win32":
  import msvcrt
else:
  import fcntl


# Of a replacement, where nothing is amiss but the one file in its place: it is
# immutable, another's in a folder as /tmp, or open in a program on Windows.
_HELD = (errno.EPERM, errno.EACCES, errno.EBUSY)


class HeldError(UserError):
  """A file that cannot be replaced, in a folder that can be written."""


def readable(name: str | Path) -> str:
  """A file's name as text: what in it is no UTF-8 is spelt, as `\\udce9`."""
  return str(name).encode("utf-8", "backslashreplace").decode()


def identity(path: str | Path) -> tuple[int, int] | None:
  """What two paths have in common that lead to one file; None if none exists.

  A link, a hard link, `..`, and letters of the other case where the disk does
  not tell them apart all lead to the same.
  """
  try:
    found = os.stat(path)
  except (OSError, ValueError):
    return None
  return found.st_dev, found.st_ino


def refuse_overwriting(
  target: str | Path, read: Iterable[str | Path], flag: str = "--output"
) -> None:
  """Checks that a file to be written is none of those that are read.

  Args:
    target: the file to be written.
    read: files, and folders of which all files count. What does not exist is
      passed over.
    flag: what the user should change.

  Raises:
    UserError: it is one of them, by whatever path.
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
          f"{target} would be written over {file}, which is read; give another"
          f" {flag}"
        )


def check_target(path: Path) -> None:
  """Checks a name that is to be written, before the work.

  Raises:
    UserError: something is there that is no file, or the name is too long.
  """
  try:
    if path.exists() and not path.is_file():
      raise UserError(f"{path} is no file to write; give another name")
    # A folder that is yet to be made would be told first.
    folder = next(p for p in path.absolute().parents if p.exists())
    os.lstat(folder / path.name)
  except OSError as error:
    if error.errno == errno.ENAMETOOLONG:
      raise UserError(f"{path} cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
  """A temporary file beside `path`, put in its place when all went well.

  Makes the folder. The temporary file has the suffix of `path`, as far as it is
  short. What replaces a file gets its mode, and a link stays one.

  Raises:
    HeldError: what is there cannot be replaced.
    UserError: it cannot be written, or the block raised an OSError.
  """
  temporary = None
  try:
    # Else the link would be replaced, not the file.
    final = Path(os.path.realpath(path))
    check_target(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = new_file(final)
    yield temporary
    if final.exists():
      shutil.copymode(final, temporary)
    try:
      os.replace(temporary, final)
    except OSError as error:
      if error.errno not in _HELD:
        raise
      raise HeldError(
        f"{path} cannot be replaced: {error.strerror}; give another name"
      ) from None
    temporary = None
  except OSError as error:
    raise UserError(
      f"{path} cannot be written: {error.strerror or error}; give another"
      " folder"
    ) from None
  finally:
    if temporary:
      temporary.unlink(missing_ok=True)


def new_file(path: Path) -> Path:
  """Makes an empty file beside `path`, with the mode of any new file.

  Its name is short: where that of `path` is as long as the disk allows, a
  longer one would be refused.
  """
  while True:
    name = f".{secrets.token_hex(6)}{path.suffix[-16:]}"
    with contextlib.suppress(FileExistsError):
      path.with_name(name).open("xb").close()
      return path.with_name(name)


class _Untouched(Exception):
  """Ends `replacing` before anything is replaced."""


def check_writable(path: Path) -> None:
  """Tries whether a file can be written, before the work that it is for.

  Makes its folder, and leaves the file as it is.

  Raises:
    UserError: it cannot.
  """
  with contextlib.suppress(_Untouched), replacing(path):
    raise _Untouched


def write_atomically(path: Path, text: str) -> None:
  """Writes a file whole or not at all, and makes its folder.

  In UTF-8; what a file's name has that is none is written as `\\udc80` to
  `\\udcff`.

  Raises:
    UserError: it cannot be written.
  """
  with replacing(path) as temporary:
    temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def to_json(value: Any, **options: Any) -> str:
  """JSON of what is finite: null for NaN and infinities, which JSON has not.

  Args:
    value: of dicts, lists, tuples, texts and numbers.
    **options: of `json.dumps`.
  """

  def finite(value):
    if isinstance(value, dict):
      return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
      return [finite(item) for item in value]
    infinite = isinstance(value, float) and not math.isfinite(value)
    return None if infinite else value

  return json.dumps(finite(value), allow_nan=False, **options)


def lock(file: IO, wait: bool) -> bool:
  """Locks a file against other processes, until it is closed.

  Args:
    file: an open file.
    wait: until no other process holds it.

  Returns:
    Whether it is locked; without `wait`, False where another process holds it.

  Raises:
    OSError: the disk has no locks.
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

  def _lock(file: IO, wait: bool) -> None:
    # Of the first byte; it waits for ten seconds.
    file.seek(0)
    kind = msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK
    msvcrt.locking(file.fileno(), kind, 1)

else:

  def _lock(file: IO, wait: bool) -> None:
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
