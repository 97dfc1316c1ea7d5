"""Small weights that ship with the package, found by name.

Each is NAME.safetensors, written by `bamjax.weights.store.save_weights`. Those
of SMFANet are its authors' (LICENSE.smfanet, NOTICE.smfanet).
"""

import os
from pathlib import Path

from bamjax.errors import UserError

FOLDER = Path(__file__).parent


def names() -> list[str]:
  """Names of the shipped weights, sorted."""
  return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def find(source: str | os.PathLike[str]) -> Path:
  """Resolves the name of shipped weights; other paths are returned as they are.

  Args:
    source: a name, without extension and folder; or any path. An existing file
      or folder takes precedence over a name.

  Returns:
    The file of the shipped weights, or `source`.

  Raises:
    UserError: it is neither the name of shipped weights nor a path, or it is
      not a valid path.
  """
  path = Path(source)
  if not os.fspath(source):
    raise UserError(
      "the name of the weights is empty; use a file, the folder of a run, or"
      f" the name of shipped weights ({', '.join(names())})"
    )
  if "\0" in str(path):
    raise UserError(f"{str(path)!r}: not a valid file name")
  try:
    exists = path.exists()
  except OSError as error:  # too long, or a folder without permission
    reason = error.strerror or error
    raise UserError(f"{path}: cannot be read: {reason}") from None
  if exists or path.suffix or len(path.parts) != 1:
    return path
  if path.name in names():
    return FOLDER / f"{path.name}.safetensors"
  raise UserError(
    f"{path}: no such file or folder, and no shipped weights of this name"
    f" (available: {', '.join(names()) or 'none'})"
  )
