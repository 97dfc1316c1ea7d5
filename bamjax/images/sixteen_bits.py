"""Reads color files of 16 bits per channel with Pillow, which keeps 8 bits.

Pillow has no mode for them: it decodes "RGB;16B" and the like, and keeps each
channel's high byte. Its names for the layout of a file's pixels can be replaced
before it decodes them. With the other byte order, it keeps the low byte, so two
passes give all 16 bits. There is no simpler way without another decoder:
tifffile reads no PNG, and no LZW without imagecodecs, which is large. Nor can
one pass read six bytes per pixel as another mode, because PNG's filters work on
whole pixels.
"""

from collections.abc import Callable
import re
import sys
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL import ImageFile

# Gray with alpha: decoded as RGBA, its four bytes per pixel are kept.
_PAIR = "LA;16B"
_COLOR = re.compile(r"(RGB|RGBA);16([BLN])")
_NATIVE = "L" if sys.byteorder == "little" else "B"
_OTHER = {"L": "B", "B": "L"}


def raw_mode(pil: ImageFile.ImageFile) -> str:
  """The layout of the file's pixels in Pillow's terms, "RGB;16B"; or ""."""
  args = pil.tile[0][3] if getattr(pil, "tile", None) else ""
  args = args[0] if isinstance(args, tuple) and args else args
  return args if isinstance(args, str) else ""


def load(pil: ImageFile.ImageFile, raw: str) -> None:
  """Decodes a file, so that `read` finds its 16 bits.

  Args:
    pil: the open file.
    raw: its `raw_mode`, which decoding forgets.
  """
  if raw == _PAIR:
    _retile(pil, "RGBA")
  pil.load()


def read(
  pil: ImageFile.ImageFile,
  raw: str,
  file: BinaryIO,
  upright: Callable[[Image.Image], Image.Image],
) -> np.ndarray | None:
  """The pixels of a file of 16 bits per channel.

  Args:
    pil: the file, decoded by `load`.
    raw: its `raw_mode` before that.
    file: the same file, to be decoded again.
    upright: applies the orientation.

  Returns:
    H×W×C uint16, upright, C being 1 (gray), 2 (gray, alpha), 3 (RGB) or 4
    (RGBA); None if the file has fewer bits.
  """
  if pil.mode.startswith("I;16"):
    # Pillow converts to native byte order.
    return np.asarray(upright(pil)).astype(np.uint16, copy=False)[..., None]
  if raw == _PAIR:
    bands = np.ascontiguousarray(upright(pil))
    return bands.view(">u2").astype(np.uint16)
  if not (match := _COLOR.fullmatch(raw)):
    return None
  mode, order = match.groups()
  high = np.asarray(upright(pil)).astype(np.uint16)
  file.seek(0)
  with Image.open(file) as again:
    _retile(again, f"{mode};16{_OTHER[_NATIVE if order == 'N' else order]}")
    return high << 8 | np.asarray(upright(again))


def _retile(pil: ImageFile.ImageFile, raw: str) -> None:
  """Makes Pillow decode a file's pixels as another layout."""
  pil.tile = [
    t._replace(args=(raw, *t.args[1:]) if isinstance(t.args, tuple) else raw)
    for t in pil.tile
  ]
