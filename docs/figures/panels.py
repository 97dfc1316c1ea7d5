"""A sheet of crops with titles, every pixel a square."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont

_TITLE, _GAP = 26, 6


def save(
  path: Path, rows: Sequence[Sequence[tuple[str, np.ndarray]]], zoom: int
) -> None:
  """Draws rows of images, each below its title, and writes a PNG file.

  Args:
    path: the file.
    rows: titles and images, uint8 H×W×3, all of the same shape.
    zoom: the side of a pixel, in pixels of the sheet: nothing is smoothed.
  """
  height, width = (zoom * n for n in rows[0][0][1].shape[:2])
  across, down = width + _GAP, height + _TITLE
  columns = max(map(len, rows))
  sheet = Image.new("RGB", (columns * across - _GAP, len(rows) * down), "white")
  draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
  for i, row in enumerate(rows):
    for j, (title, image) in enumerate(row):
      crop = Image.fromarray(image).resize((width, height), Image.NEAREST)
      sheet.paste(crop, (j * across, i * down + _TITLE))
      draw.text((j * across, i * down + 4), title, "black", font)
  sheet.save(path, optimize=True)
  print(f"{path}: {path.stat().st_size:,} bytes")
