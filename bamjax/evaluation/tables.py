"""Tables as terminal text and Markdown."""

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of text cells.

  Attributes:
    title: line above the table.
    header: names of the columns.
    rows: cells of each row.
    notes: lines below the table.
    total: whether the last row summarizes the others and is set apart.
  """

  title: str
  header: Sequence[str]
  rows: Sequence[Sequence[str]]
  notes: Sequence[str] = ()
  total: bool = False

  def text(self) -> str:
    """Formats for a terminal: first column left-aligned, others right."""
    rows = [[_line(cell) for cell in row] for row in self.rows]
    lines = [self.header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    first, *others = widths

    def line(cells: Sequence[str]) -> str:
      start, *rest = cells
      right = [f"{c:>{w}}" for c, w in zip(rest, others, strict=True)]
      return "  ".join([f"{start:<{first}}", *right]).rstrip()

    rule = "-" * (sum(widths) + 2 * len(others))
    out = [self.title, line(self.header), rule, *map(line, rows)]
    if self.total:
      out.insert(-1, rule)
    return "\n".join([*out, *self.notes])

  def markdown(self) -> str:
    """Formats as a Markdown table below a heading."""
    rule = ["---", *["---:"] * (len(self.header) - 1)]
    rows = [[_cell(cell) for cell in row] for row in self.rows]
    if self.total:
      rows[-1] = [f"**{cell}**" if cell else "" for cell in rows[-1]]
    header = [_cell(cell) for cell in self.header]
    lines = [f"| {' | '.join(cells)} |" for cells in (header, rule, *rows)]
    notes = [f"\n{_line(note)}" for note in self.notes]
    return "\n".join([f"### {_line(self.title)}\n", *lines, *notes, ""])


def _line(text: str) -> str:
  """Joins lines: a file's name may contain line breaks."""
  return " ".join(text.splitlines())


def _cell(text: str) -> str:
  r"""Formats a Markdown cell: one line, with | escaped as \|."""
  return _line(text).replace("|", r"\|")


def pair(psnr: float | None, ssim: float | None) -> str:
  """Formats PSNR and SSIM as papers do: "38.00/.9605", or "–" for None."""
  if psnr is None or ssim is None:
    return "–"
  return f"{psnr:.2f}/{ssim:.4f}".replace("/0.", "/.")


def some(names: Iterable[str], most: int = 5) -> str:
  """Joins names, "a, b and 3 more" if there are more than `most`."""
  names = list(names)
  more = f" and {len(names) - most} more" if len(names) > most else ""
  return ", ".join(names[:most]) + more
