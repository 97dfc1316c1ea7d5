"""The paper's Tables 1 and 2 with what is counted and measured beside them."""

from collections.abc import Iterable
from typing import Any

from bamjax import complexity
from bamjax import progress
from bamjax.evaluation import paper
from bamjax.evaluation.results import Row
from bamjax.evaluation.results import some
from bamjax.evaluation.tables import pair
from bamjax.evaluation.tables import Table
from bamjax.models import create_model
from bamjax.models.registry import backbone

_PROTOCOLS = ("matlab", "bam")


def compare(results: Iterable[Row]) -> list[dict[str, Any]]:
  """The paper's rows, each with our counts and scores.

  Args:
    results: rows of results.json; of two of the same network, benchmark and
      protocol, the later counts. Self-ensembles don't.

  Returns:
    For each row of the paper, in its order: `table`, `scale`, `model`, `attn`,
    `protocol` (what its scores were made under), `parameters`, `macs` and
    `gflops` (ours, the paper's way to count, for 240×360), `paper_parameters`
    and `paper_gflops` (as printed), `scores`: by benchmark, `paper` and each
    protocol that was measured, PSNR and SSIM; `measured_parameters`, those of
    measured networks of another form, as CARN-M with groups; and `notes`, on
    rows that hide others or are of fewer images.
  """
  measured = {}
  for r in results:
    if r["protocol"] in _PROTOCOLS and not r["self_ensemble"]:
      key = r["model"], r["attn"], r["scale"], r["benchmark"], r["protocol"]
      measured.setdefault(key, []).append(r)
  rows = progress.each(paper.rows(), "row")
  return [_row(printed, measured) for printed in rows]


def _row(
  printed: paper.PaperRow, measured: dict[tuple, list[Row]]
) -> dict[str, Any]:
  model, attn, scale = printed.model, printed.attn, printed.scale
  kind = backbone(model).native if attn == "native" else attn
  counts = complexity.summary(create_model(model, attn, scale))
  scores, others, notes = {}, set(), []
  for benchmark in paper.BENCHMARKS:
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
            f"{about} the last of {count} such rows, of {row['source']}"
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
  """A table for each table and scale of the paper.

  Our scores follow the paper's, in a line for each protocol that was measured.
  The paper's scores compare only with the line of their own protocol: `matlab`
  for its control figures, `bam` for those that its authors measured.
  """
  return [
    _table(number, scale, [r for r in rows if (r["table"], r["scale"]) == key])
    for key in dict.fromkeys((r["table"], r["scale"]) for r in rows)
    for number, scale in [key]
  ]


def _table(number: int, scale: int, rows: list[dict[str, Any]]) -> Table:
  benchmarks = [
    name for name in paper.BENCHMARKS if any(name in r["scores"] for r in rows)
  ]
  header = ["network", "", "parameters", "GFLOPs", "protocol", *benchmarks]
  lines, notes = [], []
  for row in rows:
    name = f"{row['model']} {row['attn']}"
    notes += [f"{name}: {note}" for note in row["notes"]]
    if row["measured_parameters"]:
      sizes = [f"{n / 1000:.1f}K" for n in row["measured_parameters"]]
      notes.append(
        f"{name}: the weights measured are of another form, with"
        f" {', '.join(sizes)} parameters"
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
