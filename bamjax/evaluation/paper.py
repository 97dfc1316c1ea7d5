"""The BAM paper's Tables 1 and 2: as data, and next to our counts and scores.

`paper.csv` contains the values as printed, including misprints (the parameters
of MSRN and MSRN-BAM at ×4 are swapped). The `native` rows of Table 1 are the
paper's control group. Cells that are empty in the paper are empty here. Table 2
prints realSR7 without naming a scale; the paper's figures show ×4.

The paper quotes the control scores from the backbones' own papers, which used
protocol `matlab`. Its authors measured all other scores, with protocol `bam`.
"""

from collections.abc import Iterable
import csv
import dataclasses
import functools
import importlib.resources
from typing import Any

from bamjax import complexity
from bamjax import progress
from bamjax.evaluation.tables import pair
from bamjax.evaluation.tables import some
from bamjax.evaluation.tables import Table
from bamjax.models import create_model
from bamjax.models.registry import backbone

BENCHMARKS = ("Set5", "Set14", "BSD100", "Urban100", "Manga109", "realSR7")

_PROTOCOLS = ("matlab", "bam")

Row = dict[str, Any]  # of results.json
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
def printed_rows() -> tuple[PaperRow, ...]:
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
  for row in printed_rows():
    if (row.model, row.attn, row.scale) == (model, attn, scale):
      if benchmark in row.scores:
        return row.scores[benchmark]
  return None


def match_results(results: Iterable[Row]) -> list[dict[str, Any]]:
  """Adds our counts and scores to the paper's rows.

  Args:
    results: rows of results.json. Self-ensembles and scores for degraded LR
      are ignored, and so are earlier rows of the same network, benchmark and
      protocol.

  Returns:
    For each row of the paper, in its order: `table`, `scale`, `model`, `attn`,
    `protocol` (of the paper's scores); `parameters`, `macs` and `gflops` (ours,
    counted as in the paper, for a 240×360 input); `paper_parameters` and
    `paper_gflops` (as printed); `scores`, for each benchmark the PSNR (dB) and
    SSIM of `paper` and of each measured protocol; `measured_parameters`, if
    measured networks have another number of them, such as CARN-M with groups;
    and `notes` on ignored rows and missing images.
  """
  measured: dict[tuple, list[Row]] = {}
  for r in results:
    other = r["self_ensemble"] or r.get("degradation")
    if r["protocol"] in _PROTOCOLS and not other:
      key = r["model"], r["attn"], r["scale"], r["benchmark"], r["protocol"]
      measured.setdefault(key, []).append(r)
  rows = progress.each(printed_rows(), "row")
  return [_row(printed, measured) for printed in rows]


def _row(printed: PaperRow, measured: dict[tuple, list[Row]]) -> dict[str, Any]:
  model, attn, scale = printed.model, printed.attn, printed.scale
  kind = backbone(model).native if attn == "native" else attn
  counts = complexity.summary(create_model(model, attn, scale))
  scores, others, notes = {}, set(), []
  for benchmark in BENCHMARKS:
    found = {}
    if benchmark in printed.scores:
      found["paper"] = printed.scores[benchmark]
    for protocol in _PROTOCOLS:
      if rows := measured.get((model, kind, scale, benchmark, protocol)):
        *earlier, row = rows
        found[protocol] = row["psnr_y"], row["ssim_y"]
        others.add(row["parameters"])
        about = f"{benchmark}, protocol {protocol}, is"
        if earlier:
          count = len(rows)
          notes.append(
            f"{about} the last of {count} results, of {row['source']}"
          )
        if left_out := row.get("left_out"):
          notes.append(f"{about} without {some(left_out)}")
    if found:
      scores[benchmark] = found
  return {
    "table": printed.table,
    "scale": scale,
    "model": model,
    "attn": kind,
    "protocol": printed.protocol,
    "parameters": counts["parameters"],
    "macs": counts["macs"],
    "gflops": counts["paper_gflops"],
    "paper_parameters": 1000 * printed.kilo_parameters,
    "paper_gflops": printed.gflops,
    "measured_parameters": sorted(others - {counts["parameters"]}),
    "scores": scores,
    "notes": notes,
  }


def tables(rows: list[dict[str, Any]]) -> list[Table]:
  """Formats a table for each table and scale of the paper.

  Our scores follow the paper's, on one line per measured protocol. Compare the
  paper's scores only with those of the same protocol: `matlab` for the control
  group, `bam` for what the paper's authors measured.
  """
  return [
    _table(number, scale, [r for r in rows if (r["table"], r["scale"]) == key])
    for key in dict.fromkeys((r["table"], r["scale"]) for r in rows)
    for number, scale in [key]
  ]


def _table(number: int, scale: int, rows: list[dict[str, Any]]) -> Table:
  benchmarks = [
    name for name in BENCHMARKS if any(name in r["scores"] for r in rows)
  ]
  header = ["network", "", "parameters", "GFLOPs", "protocol", *benchmarks]
  lines, notes = [], []
  for row in rows:
    name = f"{row['model']} {row['attn']}"
    notes += [f"{name}: {note}" for note in row["notes"]]
    if row["measured_parameters"]:
      sizes = [f"{n / 1000:.1f}K" for n in row["measured_parameters"]]
      notes.append(
        f"{name}: the measured weights differ in size: {', '.join(sizes)}"
        " parameters"
      )
    gflops = row["paper_gflops"]
    lines.append(
      [
        name,
        "paper",
        f"{row['paper_parameters'] / 1000:.1f}K",
        f"{gflops:.3f}" if gflops else "–",
        row["protocol"],
        *_cells(row, "paper", benchmarks),
      ]
    )
    measured = [
      protocol
      for protocol in _PROTOCOLS
      if any(protocol in found for found in row["scores"].values())
    ]
    own = f"{row['parameters'] / 1000:.1f}K", f"{row['gflops']:.3f}"
    for i, protocol in enumerate(measured or ["–"]):
      counts = ("", "") if i else own
      cells = _cells(row, protocol, benchmarks)
      lines.append(["", "" if i else "bamjax", *counts, protocol, *cells])
  return Table(f"Table {number} of the paper, ×{scale}", header, lines, notes)


def _cells(
  row: dict[str, Any], kind: str, benchmarks: Iterable[str]
) -> list[str]:
  """Scores of a row on each benchmark: "paper", or ours under a protocol."""
  found = [row["scores"].get(name, {}).get(kind) for name in benchmarks]
  return [pair(*(scores or (None, None))) for scores in found]
