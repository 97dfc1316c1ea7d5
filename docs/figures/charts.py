"""What the drawn figures share: their size, colours, and the pages' tables."""

import io
from pathlib import Path
import re

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

FOLDER = Path(__file__).parent
# Inches, at which 9 points are 12 pixels where a page shows 700 across.
WIDTH, TEXT = 7.0, 9.0
# Colours that colour-blind people can tell apart (Okabe and Ito 2008), by
# lightness too.
DARK, ORANGE, GREY = "#0072b2", "#e69f00", "#6b6b6b"


def new(height: float) -> Figure:
  """Returns an empty white figure of the pages' width."""
  figure = Figure((WIDTH, height), layout="constrained")
  FigureCanvasAgg(figure)
  return figure


def save(figure: Figure, name: str) -> None:
  """Writes a PNG file of a name into this folder, at twice the pages' width."""
  path, drawn = FOLDER / f"{name}.png", io.BytesIO()
  figure.savefig(drawn, dpi=200)
  # A palette takes a third of the bytes.
  sheet = Image.open(drawn).convert("RGB").quantize(64, dither=0)
  sheet.save(path, optimize=True)
  print(f"{path}: {path.stat().st_size:,} bytes")


def table(page: str, before: str) -> list[list[str]]:
  """Returns the cells of the first table after a text, its head first.

  Args:
    page: name of a page of the documentation.
    before: a text of the page, within a line.

  Returns:
    Rows of cells, without marks of code and emphasis.

  Raises:
    ValueError: the page has no such text, or no table after it.
  """
  text = (FOLDER.parent / page).read_text(encoding="utf-8")
  below = text[text.index(before) :]
  lines = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
  if not lines:
    raise ValueError(f"{page} has no table after {before!r}")
  rows = [line.strip("|").split("|") for line in lines[0].splitlines()]
  rows = [[re.sub("[`*]", "", cell).strip() for cell in row] for row in rows]
  return [rows[0], *rows[2:]]
