"""The BAM paper's Tables 1 and 2, as data.

`paper.csv` contains the values as printed, including misprints (the parameters
of MSRN and MSRN-BAM at ×4 are swapped). The `native` rows of Table 1 are the
paper's control group. Cells that are empty in the paper are empty here. Table 2
prints realSR7 without naming a scale; the paper's figures show ×4.

The paper quotes the control scores from the backbones' own papers, which used
protocol `matlab`. Its authors measured all other scores, with protocol `bam`.
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
    attn: its attention; "native" is the control group of Table 1.
    kilo_parameters: number of parameters, in thousands.
    gflops: the paper's GFLOPs for a 240×360 input; None in Table 1.
    scores: PSNR (dB) and SSIM by benchmark.
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
    """Name of the protocol of the scores."""
    return "matlab" if self.attn in ("native", "cca") else "bam"


@functools.cache
def rows() -> tuple[PaperRow, ...]:
  """Returns all rows, in the paper's order."""
  file = importlib.resources.files(__package__) / "paper.csv"
  lines = file.read_text(encoding="utf-8").splitlines()
  return tuple(_parse(row) for row in csv.DictReader(lines))


def _parse(row: dict[str, str]) -> PaperRow:
  scores = {}
  for name in BENCHMARKS:
    if cell := row[name.lower()]:
      psnr, ssim = map(float, cell.split("/"))
      scores[name] = psnr, ssim
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
  """Returns the PSNR (dB) and SSIM in the paper; None if not printed.

  Args:
    model: name of the backbone.
    attn: "native" for the control group, "bam", or an attention of Table 2.
    scale: upscaling factor.
    benchmark: one of `BENCHMARKS`.
  """
  for row in rows():
    if (row.model, row.attn, row.scale) == (model, attn, scale):
      if benchmark in row.scores:
        return row.scores[benchmark]
  return None
