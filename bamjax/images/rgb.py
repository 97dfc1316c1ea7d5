"""Lists a folder's images, and reads them as 8-bit RGB."""

import collections
from collections.abc import Iterable
import os
from pathlib import Path

import numpy as np

from bamjax.errors import UserError
from bamjax.errors import warn_once
from bamjax.images import decoding

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


def list_images(folder: str | Path) -> list[Path]:
  """Lists the image files of a folder, by extension, sorted by name.

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
    is_image = path.suffix.lower() in EXTENSIONS and not os.path.isdir(path)
    (found if is_image else others).append(path)
  if not found:
    besides = f"; it holds {count_kinds(others)}" if others else ""
    raise UserError(
      f"the folder {folder} holds no image ({', '.join(EXTENSIONS)}){besides}"
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
