"""Files written whole or not at all."""

import os
from pathlib import Path
import tempfile

from bamjax.errors import UserError


def write_atomically(path: Path, text: str) -> None:
  """Writes a file whole or not at all, and makes its folder.

  Raises:
    UserError: it cannot be written.
  """
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
      "w",
      encoding="utf-8",
      dir=path.parent,
      prefix=f".{path.name}.",
      delete=False,
    ) as file:
      try:
        file.write(text)
        file.flush()
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
      except BaseException:
        os.unlink(file.name)
        raise
  except OSError as error:
    raise UserError(
      f"{path} cannot be written: {error.strerror}; give another folder"
    ) from None
