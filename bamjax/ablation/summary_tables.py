"""A study's tables: for the terminal, Markdown and CSV."""

from collections.abc import Sequence
import csv
import io
import math
from typing import Any

from bamjax.ablation.analysis import Line
from bamjax.ablation.analysis import Measure
from bamjax.ablation.analysis import METRICS
from bamjax.ablation.analysis import verdict
from bamjax.ablation.summary import Summary
from bamjax.evaluation.tables import Table
from bamjax.terminal import counted

# Digits of a mean score; unit and digits of a difference.
_FORMATS = {"psnr": (3, 1.0, 3), "ssim": (5, 1e-4, 1)}
HEADER = (
  "network",
  "parameters",
  "G MACs",
  "steps",
  "seeds",
  "PSNR dB",
  "difference dB",
  "95 % interval",
  "PSNR is",
  "SSIM",
  "difference 1e-4",
  "95 % interval",
)


def tables(summary: Summary) -> list[Table]:
  """A table for each benchmark."""
  return [
    Table(
      f"Ablation ×{summary.study.scale} on {benchmark}, protocol"
      f" {summary.study.protocol}: difference from the control",
      HEADER,
      [_cells(line, summary.study.control) for line in lines],
      notes(summary, benchmark),
    )
    for benchmark, lines in summary.lines.items()
  ]


def label(line: Line) -> str:
  """ "pan bam", "pan native (pa)"."""
  kind = "" if line.kind == line.attn else f" ({line.kind})"
  return f"{line.model} {line.attn}{kind}"


def _cells(line: Line, control: str) -> list[str]:
  words = "control" if line.attn == control else verdict(line.psnr.difference)
  return [
    label(line),
    f"{line.cost.parameters:,}",
    f"{line.cost.macs / 1e9:.2f}",
    f"{line.steps:,}",
    str(len(line.psnr.per_seed)),
    *_score(line.psnr, "psnr"),
    words,
    *_score(line.ssim, "ssim"),
  ]


def _score(measure: Measure, metric: str) -> list[str]:
  """Mean ± spread over the seeds, the difference ± its, and the interval."""
  decimals, unit, digits = _FORMATS[metric]
  spread = _plus_minus(measure.spread, decimals)
  mean = f"{measure.mean:.{decimals}f}{spread}"
  found = measure.difference
  if found is None:
    return [mean, "–", "–"]
  spread = _plus_minus(found.spread / unit, digits)
  difference = f"{found.mean / unit:+.{digits}f}{spread}"
  if math.isnan(found.low):
    return [mean, difference, "–"]
  low, high = (f"{x / unit:+.{digits}f}" for x in (found.low, found.high))
  return [mean, difference, f"{low} to {high}"]


def _plus_minus(spread: float, digits: int) -> str:
  """ " ± 0.012"; nothing for a single seed."""
  return "" if math.isnan(spread) else f" ± {spread:.{digits}f}"


def notes(summary: Summary, benchmark: str) -> list[str]:
  """How to read a benchmark's table."""
  study, lines = summary.study, summary.lines[benchmark]
  seeds = sorted({seed for line in lines for seed in line.psnr.per_seed})
  found = [
    f"{counted(len(lines[0].images), 'image')};"
    f" seeds {', '.join(map(str, seeds))}; ±:"
    " standard deviation over the seeds",
    f"difference: attention − control ({study.control}), paired over images"
    " and seeds; interval: 95 %, over images and seeds",
    "MACs: of one RGB image of 360×240 LR pixels",
  ]
  if any(len(line.seeds) == 1 for line in lines):
    found.append(
      "with one seed an interval covers the images only: another seed may"
      " change the sign of the difference"
    )
  if summary.comparisons > 1:
    found.append(
      f"{summary.comparisons} comparisons: if no network differed from its"
      " control, about one interval in 20 would still exclude 0"
    )
  if study.budget == "seconds":
    found.append(
      "equal time: every network trained as many seconds as its control"
    )
  left_out = sorted({n for line in lines for n in line.psnr.left_out})
  if left_out:
    found.append(
      f"equal to HR, and not in the difference of PSNR: {', '.join(left_out)}"
    )
  if summary.missing:
    found.append(f"not finished, and not in here: {', '.join(summary.missing)}")
  if summary.outdated:
    found.append(
      "trained, but not scored on these images as they are now, and not in"
      f" here until the command names them: {', '.join(summary.outdated)}"
    )
  if len(summary.environments) > 1:
    parts = (
      ", ".join(f"{k} {v}" for k, v in each.items())
      for each in summary.environments
    )
    found.append(f"cells ran on different machines: {'; '.join(parts)}")
  return found


def to_csv(summary: Summary) -> str:
  """A line for each network on each benchmark."""
  rows = [_row(line) for lines in summary.lines.values() for line in lines]
  out = io.StringIO()
  names = list(rows[0]) if rows else []
  writer = csv.DictWriter(out, names, lineterminator="\n")
  writer.writeheader()
  writer.writerows(rows)
  return out.getvalue()


def _row(line: Line) -> dict[str, Any]:
  row: dict[str, Any] = {
    "benchmark": line.benchmark,
    "model": line.model,
    "attn": line.attn,
    "kind": line.kind,
    "parameters": line.cost.parameters,
    "macs": line.cost.macs,
    "steps": line.steps,
    "seeds": " ".join(map(str, line.seeds)),
    "images": len(line.images),
  }
  for metric in METRICS:
    measure = line.measure(metric)
    found = measure.difference
    values: Sequence[float | None] = (None, None, None, None)
    if found is not None:
      values = found.mean, found.spread, found.low, found.high
    row[metric] = measure.mean
    row[f"{metric}_spread"] = _finite(measure.spread)
    for name, value in zip(
      ("difference", "difference_spread", "low", "high"), values, strict=True
    ):
      row[f"{metric}_{name}"] = _finite(value)
    row[f"{metric}_verdict"] = verdict(found)
  return row


def _finite(value: float | None) -> float | str:
  """A number, or nothing."""
  return "" if value is None or math.isnan(value) else value
