"""Small weights of our own that ship with the package, by name.

Files of `bamjax.weights.store.save_weights`, NAME.safetensors each.
"""

import os
from pathlib import Path

from bamjax.errors import UserError

FOLDER = Path(__file__).parent


def names() -> list[str]:
  """Names of the shipped weights, sorted."""
  return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def find(source: str | os.PathLike[str]) -> Path:
  """The file of shipped weights, if `source` names such; else `source` itself.

  A name has no extension and no folder; a file or folder that exists goes
  first.

  Raises:
    UserError: there is neither, or it is no name that a file can have.
  """
  path = Path(source)
  if not os.fspath(source):
    raise UserError("the name of the weights is empty; give a file or a folder")
  if "\0" in str(path):
    raise UserError(f"{str(path)!r}: no name of a file")
  try:
    exists = path.exists()
  except OSError as error:  # too long a name, or a folder that is closed
    reason = error.strerror or error
    raise UserError(f"{path}: cannot be read: {reason}") from None
  if exists or path.suffix or len(path.parts) != 1:
    return path
  if path.name in names():
    return FOLDER / f"{path.name}.safetensors"
  raise UserError(
    f"{path}: no such file or folder, and no shipped weights; shipped are"
    f" {', '.join(names()) or 'none'}"
  )
