"""Files written whole or not at all."""

from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import tempfile

from bamjax.errors import UserError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
  """A temporary file beside `path`, put in its place when all went well.

  Makes the folder. The temporary file has the suffix of `path`.

  Raises:
    UserError: it cannot be written, or the block raised an OSError.
  """
  temporary = None
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
      path.suffix, f".{path.name[:100]}.", path.parent
    )
    os.close(handle)
    temporary = Path(name)
    yield temporary
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
    temporary = None
  except OSError as error:
    raise UserError(
      f"{path} cannot be written: {error.strerror or error}; give another"
      " folder"
    ) from None
  finally:
    if temporary:
      temporary.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
  """Writes a file whole or not at all, and makes its folder.

  Raises:
    UserError: it cannot be written.
  """
  with replacing(path) as temporary:
    temporary.write_text(text, encoding="utf-8")
