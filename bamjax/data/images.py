"""Picture files in, 8-bit RGB out."""

from pathlib import Path
import warnings

import numpy as np
from PIL import Image
from PIL import ImageOps

from bamjax.errors import UserError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


def list_pictures(folder: str | Path) -> list[Path]:
  """Picture files of a folder, by extension, sorted by name.

  Raises:
    UserError: it is no folder or holds no picture.
  """
  folder = Path(folder)
  if not folder.is_dir():
    raise UserError(f"there is no folder {folder}")
  found = sorted(
    p
    for p in folder.iterdir()
    if p.suffix.lower() in EXTENSIONS
    and not p.name.startswith(".")
    and p.is_file()
  )
  if not found:
    raise UserError(
      f"the folder {folder} holds no picture ({', '.join(EXTENSIONS)})"
    )
  return found


def read_rgb(path: str | Path) -> np.ndarray:
  """Reads a picture as H×W×3 uint8, upright.

  Gray is repeated, a palette is looked up, alpha is dropped, 16 bits become 8.

  Raises:
    UserError: the file is absent, cut short, or no picture.
  """
  try:
    with warnings.catch_warnings():
      # Pillow warns of odd metadata in pictures that read well.
      warnings.simplefilter("ignore")
      with Image.open(path) as file:
        picture = ImageOps.exif_transpose(file)
        if picture.mode.startswith("I") or picture.mode == "F":
          values = np.asarray(picture, np.float64)
          peak = 65535 if picture.mode.startswith("I") else 1
          gray = np.clip(values / peak, 0, 1) * 255
          return np.repeat((gray + 0.5).astype(np.uint8)[..., None], 3, axis=2)
        if picture.mode in ("P", "PA"):
          picture = picture.convert("RGBA")
        return np.asarray(picture.convert("RGB"))
  except FileNotFoundError:
    raise UserError(f"there is no file {path}") from None
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
    raise UserError(
      f"{path} cannot be read as a picture ({' '.join(str(e).split())})"
    ) from None
