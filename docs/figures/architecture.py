"""Draws BAM, and its place in each backbone.

  python -m docs.figures.architecture

BAM is that of bamjax/layers/attention.py, the places those of bamjax/models/.
Needs matplotlib.
"""

from typing import Any
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Circle
from matplotlib.patches import FancyBboxPatch
from matplotlib.patches import Polygon
from matplotlib.textpath import TextPath

from docs.figures import charts


class Row(NamedTuple):
  """A row of the second picture.

  Attributes:
    name: of the backbones.
    what: is drawn of them.
    parts: from left to right; "+" is a sum, and a row that is a part of the
      network begins and ends with nothing.
    skip: the part that it starts behind, a box on its way, and its sum.
    frame: its first and last part, and its title.
  """

  name: str
  what: str
  parts: str
  skip: tuple[int, str, int] | None = None
  frame: tuple[int, int, str] | None = None


# Fill and edge.
PLAIN = ("#f2f2f2", charts.GREY)
CHANNEL = ("#d4e8f7", charts.DARK)
SPATIAL = ("#fdebc4", charts.ORANGE)
BAM = (charts.DARK, charts.DARK)
ROUND = "round,pad=0,rounding_size=0.05"

PLACES = (
  Row(
    *("EDSR, s-LWSR", "the network"),
    "LR | 3×3 | body | BAM | + | upsampling,\n3×3 | SR",
    skip=(1, "", 4),
  ),
  Row(
    *("AWSRN", "the network"),
    "LR | 3×3 | body | BAM | weighted 3×3 +\n5×5 + 7×7 + 9×9 | +"
    " | pixel\nshuffle | SR",
    skip=(0, "3×3", 5),
  ),
  Row(
    *("CARN, CARN-M", "the network"),
    "LR | 3×3 | block | 1×1 of head and all\nblocks so far, ReLU | BAM"
    " | upsampling,\n3×3 | SR",
    frame=(2, 4, "3 times"),
  ),
  Row(
    *("MSRN", "each block"),
    "| 3×3 and 5×5,\nReLU, twice | 1×1 | BAM | + |",
    skip=(0, "", 4),
  ),
  Row(
    *("RCAN", "each block,\nin place of CA"),
    "| 3×3 | ReLU | 3×3 | BAM | + |",
    skip=(0, "", 5),
  ),
  Row(
    *("IMDN", "each block,\nin place of CCA"),
    "| four steps of 3×3, each\nkeeps 16 channels | concatenate | BAM | 1×1"
    " | + |",
    skip=(0, "", 5),
  ),
  Row(
    *("PAN", "each upsampling\nstep, in place of PA"),
    "| nearest,\n×2 or ×3 | 3×3 | BAM | LeakyReLU | 3×3 | LeakyReLU |",
  ),
  Row(
    *("DRLN", "each block,\nin place of LA"),
    "| 3 residual blocks, each\nsees all maps before it"
    " | 1×1 of all\nmaps, ReLU | BAM |",
  ),
)


def canvas(height: float) -> Axes:
  """Returns axes in inches over a whole picture."""
  figure = charts.new(height)
  figure.set_layout_engine("none")
  axes = figure.add_axes((0, 0, 1, 1))
  axes.set(xlim=(0, charts.WIDTH), ylim=(0, height))
  axes.axis("off")
  return axes


def say(axes: Axes, x: float, y: float, text: str, **options: Any) -> None:
  """Writes a text around a point."""
  options = {"ha": "center", "va": "center", "fontsize": charts.TEXT} | options
  axes.text(x, y, text, linespacing=1.1, **options)


def width(text: str) -> float:
  """Returns how wide the longest line of a text is, in inches."""
  lines = text.split("\n")
  return max(
    TextPath((0, 0), line, size=charts.TEXT).get_extents().width / 72
    for line in lines
  )


def box(
  axes: Axes,
  x: float,
  y: float,
  text: str,
  wide: float,
  *,
  high: float = 0.36,
  colours: tuple[str, str] = PLAIN,
) -> None:
  """Draws a box around a point."""
  fill, edge = colours
  axes.add_patch(
    FancyBboxPatch(
      *((x - wide / 2, y - high / 2), wide, high, ROUND),
      facecolor=fill,
      edgecolor=edge,
      linewidth=1,
    )
  )
  bold = {"color": "white", "weight": "bold"} if fill == BAM[0] else {}
  say(axes, x, y, text, **bold)


def circle(axes: Axes, x: float, y: float, sign: str) -> None:
  """Draws a sum or a product."""
  axes.add_patch(
    Circle((x, y), 0.1, facecolor="white", edgecolor="black", linewidth=1)
  )
  say(axes, x, y - 0.005, sign, fontsize=charts.TEXT + 2)


def line(axes: Axes, *points: tuple[float, float]) -> None:
  """Draws a line through points that ends in an arrow."""
  axes.plot(*zip(*points[:-1], strict=True), "black", linewidth=1, zorder=1)
  style = {"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0}
  axes.annotate("", points[-1], points[-2], arrowprops=style)


def cuboid(
  axes: Axes,
  x: float,
  y: float,
  sides: tuple[float, ...],
  colours: tuple[str, str],
) -> None:
  """Draws features around a point: sides are width, height and channels."""
  wide, high, deep = sides
  fill, edge = colours
  shift = 0.5 * deep
  left, low = x - (wide + shift) / 2, y - (high + shift) / 2
  a, b = (left, low), (left + wide, low)
  c, d = (left + wide, low + high), (left, low + high)
  e, f, g = ((u + shift, v + shift) for u, v in (b, c, d))
  for corners in ((a, b, c, d), (d, c, f, g), (b, e, f, c)):
    axes.add_patch(
      Polygon(corners, facecolor=fill, edgecolor=edge, linewidth=1)
    )


def bam():
  """Draws BAM's two branches, with shapes."""
  height = 3.1
  axes = canvas(height)
  middle, top, low = 1.53, 2.44, 0.62
  # F, and where its three ways part.
  fork, product = 0.98, 5.95
  cuboid(axes, 0.45, middle + 0.05, (0.38, 0.38, 0.5), PLAIN)
  say(axes, 0.45, middle - 0.5, "F\nN×H×W×C")
  line(axes, (0.78, middle), (product - 0.1, middle))

  columns = {
    "pool": (1.62, 0.72),
    "first": (2.66, 0.62),
    "activation": (3.5, 0.58),
    "second": (4.34, 0.62),
    "sigmoid": (5.22, 0.3),
  }
  branches = (
    (
      *("ACAM: channels", top, CHANNEL),
      {
        "pool": "mean\nover H×W",
        "first": "1×1\nC→C/r",
        "activation": "PReLU",
        "second": "1×1\nC/r→C",
        "sigmoid": "σ",
      },
    ),
    (
      *("MSAM: positions", low, SPATIAL),
      {"pool": "maximum\nover C", "activation": "7×7\n1→1", "sigmoid": "σ"},
    ),
  )
  for title, y, colours, parts in branches:
    axes.add_patch(
      FancyBboxPatch(
        *((1.14, y - 0.5), 4.4, 1.08, ROUND),
        facecolor=colours[0],
        edgecolor="none",
      )
    )
    say(axes, 1.24, y + 0.43, title, ha="left", weight="bold")
    before = fork
    for i, (column, text) in enumerate(parts.items()):
      x, wide = columns[column]
      start = [(fork, middle)] if not i else []
      line(axes, *start, (before, y), (x - wide / 2, y))
      box(axes, x, y, text, wide, colours=("white", colours[1]))
      before = x + wide / 2
    side = 0.1 if y > middle else -0.1
    line(axes, (before, y), (product, y), (product, middle + side))
  for x, text in ((2.16, "N×1×1×C"), (4.8, "N×1×1×C")):
    say(axes, x, top - 0.34, text)
  say(axes, 3.5, top - 0.34, "N×1×1×C/r")
  for x in (2.6, 4.43):
    say(axes, x, low - 0.34, "N×H×W×1")

  cuboid(axes, 6.45, top + 0.06, (0.1, 0.1, 0.5), CHANNEL)
  say(axes, 6.5, top - 0.34, "N×1×1×C")
  cuboid(axes, 6.45, low - 0.02, (0.38, 0.38, 0.1), SPATIAL)
  say(axes, 6.5, low - 0.4, "N×H×W×1")
  circle(axes, product, middle, "×")
  line(axes, (product + 0.1, middle), (6.28, middle))
  cuboid(axes, 6.62, middle + 0.05, (0.38, 0.38, 0.5), PLAIN)
  say(axes, 6.5, middle - 0.46, "BAM(F)\nN×H×W×C")
  charts.save(axes.figure, "bam")


def places():
  """Draws a row for each backbone, or group of them."""
  pitch = 0.78
  axes = canvas(pitch * len(PLACES))
  for i, row in enumerate(PLACES):
    y = pitch * (len(PLACES) - i - 0.62)
    if i:
      axes.axhline(y + 0.62 * pitch, color="0.85", linewidth=0.8)
    lines = 1 + row.what.count("\n")
    say(axes, 0.05, y + 0.075 * lines, row.name, ha="left", weight="bold")
    say(axes, 0.05, y - 0.085, row.what, ha="left", color=charts.GREY)
    place(axes, y, row)
  charts.save(axes.figure, "bam_places")


def place(axes: Axes, y: float, row: Row) -> None:
  """Draws what is right of a row's name, around a height."""
  parts = [part.strip() for part in row.parts.split("|")]
  fixed = {"": 0.0, "+": 0.2, "LR": 0.25, "SR": 0.25}
  wides = [
    fixed[text] if text in fixed else width(text) + 0.16 for text in parts
  ]
  gap, left = 0.24, 1.45
  lefts = [left + sum(wides[:i]) + gap * i for i in range(len(parts))]
  if row.frame:
    first, last, title = row.frame
    start, end = lefts[first] - 0.14, lefts[last] + wides[last] + 0.1
    axes.add_patch(
      FancyBboxPatch(
        *((start, y - 0.25), end - start, 0.5, ROUND),
        facecolor="none",
        edgecolor=charts.GREY,
        linestyle="--",
      )
    )
    say(axes, end, y + 0.34, title, ha="right", color=charts.GREY)
  for i, (text, x, wide) in enumerate(zip(parts, lefts, wides, strict=True)):
    centre = x + wide / 2
    if i:
      line(axes, (x - gap, y), (x, y))
    if text == "+":
      circle(axes, centre, y, text)
    elif text in fixed:
      say(axes, centre, y, text)
    else:
      box(axes, centre, y, text, wide, colours=BAM if text == "BAM" else PLAIN)
  if row.skip:
    start, through, end = row.skip
    x, above = lefts[start] + wides[start] + 0.07, y + 0.33
    to = lefts[end] + wides[end] / 2
    line(axes, (x, y), (x, above), (to, above), (to, y + 0.1))
    if through:
      wide = width(through) + 0.16
      box(axes, (x + to) / 2, above, through, wide, high=0.2)


if __name__ == "__main__":
  bam()
  places()
