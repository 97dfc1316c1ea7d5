"""Image files in, 8-bit RGB out."""

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
  """Image files of a folder, by extension, sorted by name.

  Links that lead nowhere are among them, so that their reader names them. What
  else the folder holds is counted in a warning, hidden files apart.

  Raises:
    UserError: it is no folder, cannot be read, or holds no image.
  """
  folder = Path(folder)
  # Unlike Path's, os.path's tests raise nothing where a folder is closed to us.
  if not os.path.isdir(folder):
    raise UserError(f"there is no folder {folder}")
  try:
    paths = sorted(folder.iterdir())
  except OSError as error:
    raise UserError(
      f"the folder {folder} cannot be read ({error.strerror})"
    ) from None
  found, others = [], []
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
    warn_once(f"{folder}: passed over {count_kinds(others)}")
  return found


def count_kinds(paths: Iterable[Path]) -> str:
  """Tells how many there are of each kind: "3 .gif, 2 folder(s)"."""
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

  Gray is repeated, a palette is looked up, alpha is dropped, 16 bits are
  rounded to 8; otherwise as `decoding.read` has it.

  Raises:
    UserError: the file is absent, cut short, or no image.
  """
  color = decoding.read(path, metadata=False).color
  return np.ascontiguousarray(decoding.to_8_bits(color))
