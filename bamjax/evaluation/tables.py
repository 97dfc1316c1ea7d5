"""Tables as text for a terminal and as Markdown."""

from collections.abc import Sequence
import dataclasses


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of texts.

  Attributes:
    title: a line above it.
    header: names of the columns.
    rows: cells; the last is set apart where `total` is true.
    notes: lines below it.
    total: whether the last row sums up the others.
  """

  title: str
  header: Sequence[str]
  rows: Sequence[Sequence[str]]
  notes: Sequence[str] = ()
  total: bool = False

  def text(self) -> str:
    """Aligned columns, the first to the left, the others to the right."""
    rows = [[_line(cell) for cell in row] for row in self.rows]
    lines = [self.header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    first, *others = widths

    def line(cells):
      start, *rest = cells
      right = [f"{c:>{w}}" for c, w in zip(rest, others, strict=True)]
      return "  ".join([f"{start:<{first}}", *right]).rstrip()

    rule = "-" * (sum(widths) + 2 * len(others))
    out = [self.title, line(self.header), rule, *map(line, rows)]
    if self.total:
      out.insert(-1, rule)
    return "\n".join([*out, *self.notes])

  def markdown(self) -> str:
    """A Markdown table under a heading."""
    rule = ["---", *["---:"] * (len(self.header) - 1)]
    rows = [[_cell(cell) for cell in row] for row in self.rows]
    if self.total:
      rows[-1] = [f"**{cell}**" if cell else "" for cell in rows[-1]]
    header = [_cell(cell) for cell in self.header]
    lines = [f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)]
    notes = [f"\n{_line(note)}" for note in self.notes]
    return "\n".join([f"### {_line(self.title)}\n", *lines, *notes, ""])


def _line(text: str) -> str:
  """On one line, whatever a file's name may hold."""
  return " ".join(text.splitlines())


def _cell(text: str) -> str:
  r"""On one line, with \| for |, which would end a cell of Markdown."""
  return _line(text).replace("|", r"\|")


def pair(psnr: float | None, ssim: float | None) -> str:
  """PSNR and SSIM as the field prints them: 38.00/.9605; – for none."""
  if psnr is None or ssim is None:
    return "–"
  return f"{psnr:.2f}/{ssim:.4f}".replace("/0.", "/.")
