"""Lists a folder's images, and reads them as 8-bit RGB."""

import collections
from collections.abc import Iterable
import functools
import os
from pathlib import Path

import numpy as np
from PIL import Image
from PIL import ImageFile

from bamjax.errors import UserError
from bamjax.errors import warn_once
from bamjax.images import decoding

# The usual extensions, for messages.
EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
# Formats that Pillow recognises, and leaves to other programs.
_NOT_READ = ("EPS", "MPEG")


@functools.cache
def _read() -> frozenset[str]:
  """The extensions of all formats that Pillow, as it is installed, reads."""
  kinds = Image.registered_extensions()
  readers = {
    kind
    for kind, (factory, _) in Image.OPEN.items()
    if kind not in _NOT_READ
    and not (
      isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)
    )
  }
  return frozenset(end for end, kind in kinds.items() if kind in readers)


def is_image(name: str | Path) -> bool:
  """Whether a file's extension is that of an image that can be read."""
  return Path(name).suffix.lower() in _read()


def list_images(folder: str | Path) -> list[Path]:
  """Lists the image files of a folder, by extension, sorted by name.

  An extension counts if Pillow reads its format.

  Broken links are included; reading them raises an error that names them. A
  warning counts what else the folder holds, except for hidden files.

  Raises:
    UserError: the folder is missing, cannot be read, or holds no image.
  """
  folder = Path(folder)
  # Unlike Path.is_dir, os.path.isdir never raises PermissionError.
  if not os.path.isdir(folder):
    raise UserError(f"there is no folder {folder}")
  try:
    paths = sorted(folder.iterdir())
  except OSError as error:
    raise UserError(
      f"the folder {folder} cannot be read ({error.strerror})"
    ) from None
  found: list[Path] = []
  others: list[Path] = []
  for path in paths:
    if path.name.startswith("."):
      continue
    listed = is_image(path) and not os.path.isdir(path)
    (found if listed else others).append(path)
  if not found:
    besides = f"; it holds {count_kinds(others)}" if others else ""
    raise UserError(
      f"the folder {folder} holds no image ({', '.join(EXTENSIONS)} or others"
      f" that Pillow reads){besides}"
    )
  if others:
    warn_once(f"{folder}: skipped {count_kinds(others)}")
  return found


def count_kinds(paths: Iterable[Path]) -> str:
  """Counts paths by kind: "3 .gif, 2 folder(s)"."""
  kinds = collections.Counter(map(_kind, paths))
  return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def _kind(path: Path) -> str:
  if os.path.isdir(path):
    return "folder(s)"
  if os.path.islink(path) and not os.path.exists(path):
    return "broken link(s)"
  return path.suffix.lower() or "without extension"


def read_rgb(path: str | Path) -> np.ndarray:
  """Reads an image as H×W×3 uint8, upright.

  Gray becomes three equal channels, palettes become RGB, alpha is dropped, and
  16 bits are rounded to 8; see `decoding.read` for the rest.

  Raises:
    UserError: the file is missing, truncated, or not an image.
  """
  color = decoding.read(path, metadata=False).color
  return np.ascontiguousarray(decoding.to_8_bits(color))
