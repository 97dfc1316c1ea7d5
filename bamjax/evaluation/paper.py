"""The BAM paper's Tables 1 and 2, as data.

`paper.csv` holds the figures as printed, misprints included (the ×4 parameters
of MSRN and MSRN-BAM are swapped there). `native` rows of Table 1 are the
paper's control group. Where the paper leaves a cell empty, so is it here. Table
2 prints realSR7 once, for no scale that it names; its figures show ×4.

Control figures are quoted there from the backbones' own papers, whose protocol
is `matlab`; the others were measured by the paper's authors under `bam`.
"""

import csv
import dataclasses
import functools
import importlib.resources

BENCHMARKS = ("Set5", "Set14", "BSD100", "Urban100", "Manga109", "realSR7")

Scores = tuple[float, float]  # PSNR in dB, SSIM


@dataclasses.dataclass(frozen=True)
class PaperRow:
  """A row of the paper's tables.

  Attributes:
    table: 1 or 2.
    scale: upscaling factor.
    model: name of the backbone.
    attn: its attention; "native" is Table 1's control.
    kilo_parameters: parameters in thousands.
    gflops: the paper's count for a 240×360 input; None in Table 1.
    scores: PSNR and SSIM by benchmark.
  """

  table: int
  scale: int
  model: str
  attn: str
  kilo_parameters: float
  gflops: float | None
  scores: dict[str, Scores]

  @property
  def protocol(self) -> str:
    """The protocol that the scores were made under."""
    return "matlab" if self.attn in ("native", "cca") else "bam"


@functools.cache
def rows() -> tuple[PaperRow, ...]:
  """All rows, in the paper's order."""
  file = importlib.resources.files(__package__) / "paper.csv"
  lines = file.read_text(encoding="utf-8").splitlines()
  return tuple(_parse(row) for row in csv.DictReader(lines))


def _parse(row: dict[str, str]) -> PaperRow:
  scores = {
    name: tuple(map(float, row[name.lower()].split("/")))
    for name in BENCHMARKS
    if row[name.lower()]
  }
  return PaperRow(
    int(row["table"]),
    int(row["scale"]),
    row["model"],
    row["attn"],
    float(row["kilo_parameters"]),
    float(row["gflops"]) if row["gflops"] else None,
    scores,
  )


def find(model: str, attn: str, scale: int, benchmark: str) -> Scores | None:
  """PSNR and SSIM that the paper prints; None where it prints none.

  Args:
    model: name of the backbone.
    attn: "native" for the control, "bam", or one of Table 2's.
    scale: upscaling factor.
    benchmark: one of `BENCHMARKS`.
  """
  for row in rows():
    if (row.model, row.attn, row.scale) == (model, attn, scale):
      if benchmark in row.scores:
        return row.scores[benchmark]
  return None
