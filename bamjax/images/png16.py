"""Writes PNG files of 16 bits per channel, which Pillow cannot write."""

from collections.abc import Sequence
from pathlib import Path
import struct
import zlib

import numpy as np

from bamjax.images.png_chunks import chunk

_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by number of channels
_UP = 2  # the filter that stores the difference from the row above
_BAND = 64  # rows compressed at a time


def write(
  path: Path,
  pixels: np.ndarray,
  chunks: Sequence[tuple[bytes, bytes]] = (),
) -> None:
  """Writes a PNG file (the PNG specification, third edition).

  Args:
    path: the file.
    pixels: H×W×C uint16, C being 1 (gray), 2 (gray, alpha), 3 (RGB) or 4
      (RGBA).
    chunks: types and data of other chunks, written before the pixels.
  """
  height, width, channels = pixels.shape
  header = struct.pack(
    ">IIBBBBB", width, height, 16, _COLOR_TYPES[channels], 0, 0, 0
  )
  with path.open("wb") as file:
    file.write(b"\x89PNG\r\n\x1a\n")
    file.write(chunk(b"IHDR", header))
    for kind, data in chunks:
      file.write(chunk(kind, data))
    deflate = zlib.compressobj()
    above = np.zeros((1, 2 * channels * width), np.uint8)
    for start in range(0, height, _BAND):
      band = pixels[start : start + _BAND].astype(">u2")
      rows = band.reshape(len(band), -1).view(np.uint8)
      lines = np.full((len(rows), rows.shape[1] + 1), _UP, np.uint8)
      # Modulo 256, as uint8 wraps.
      lines[:, 1:] = rows - np.concatenate([above, rows[:-1]])
      above = rows[-1:]
      if data := deflate.compress(lines.tobytes()):
        file.write(chunk(b"IDAT", data))
    file.write(chunk(b"IDAT", deflate.flush()))
    file.write(chunk(b"IEND", b""))
