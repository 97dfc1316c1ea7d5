"""Results of evaluations: rows, tables and the files that hold them."""

from collections.abc import Iterable
import csv
import io
import json
from pathlib import Path
from typing import Any

from bamjax import complexity
from bamjax.errors import UserError
from bamjax.files import write_atomically
from bamjax.networks import Network
from bamjax.protocols import Protocol
from bamjax.protocols import PROTOCOLS
from bamjax.report import paper
from bamjax.report.tables import pair
from bamjax.report.tables import Table

Row = dict[str, Any]

RESULTS = "results.json"
SCORES = ("psnr_y", "ssim_y", "bicubic_psnr_y", "bicubic_ssim_y")
# What tells a row from others: the same measured again takes its place.
_KEY = (
  "source",
  "step",
  "model",
  "attn",
  "scale",
  "self_ensemble",
  "benchmark",
  "protocol",
)


def make_row(
  network: Network,
  benchmark: str,
  protocol: Protocol,
  result: dict[str, Any],
  self_ensemble: bool = False,
) -> Row:
  """A row of results.json.

  Args:
    network: what was evaluated.
    benchmark: name of the pictures.
    protocol: how they were scored.
    result: what `bamjax.evaluation.evaluate` returns for this protocol.
    self_ensemble: whether the outputs were averaged over eight symmetries.

  Returns:
    The network, its `parameters` as the paper's Table 1 counts them,
    `benchmark`, `protocol` and `protocol_version`; the means
    `psnr_y`, `ssim_y`, `bicubic_psnr_y`, `bicubic_ssim_y` (None under `ntire`,
    which has them with `rgb` for `y`, and where there is no HR); `paper`, what
    the paper prints for the control and for BAM, PSNR and SSIM; and `images`,
    the scores of each.
  """
  printed = {
    name: paper.find(network.model, attn, network.scale, benchmark)
    for name, attn in (("control", "native"), ("bam", "bam"))
  }
  return {
    "model": network.model,
    "attn": network.attn,
    "scale": network.scale,
    "source": network.source,
    "step": network.step,
    "parameters": complexity.parameters(network.module, network.variables),
    "self_ensemble": self_ensemble,
    "benchmark": benchmark,
    "protocol": protocol.name,
    "protocol_version": protocol.version,
    **dict.fromkeys(SCORES),
    **{key: value for key, value in result.items() if key != "images"},
    "paper": {name: scores for name, scores in printed.items() if scores},
    "images": result["images"],
  }


def table(row: Row) -> Table:
  """A row's pictures and means, bicubic and the paper's figures beside them."""
  protocol = PROTOCOLS[row["protocol"]]
  keys = [f"{name}_{protocol.suffix}" for name in ("psnr", "ssim")]

  def cells(name, scores):
    psnr, bicubic = scores[keys[0]], scores[f"bicubic_{keys[0]}"]
    return [
      name,
      pair(*(scores[f"bicubic_{key}"] for key in keys)),
      pair(*(scores[key] for key in keys)),
      "–" if psnr is None else f"{psnr - bicubic:+.2f} dB",
    ]

  rows = [cells(image["name"], image) for image in row["images"]]
  network = f"{row['model']} {row['attn']} ×{row['scale']}"
  plus = " self-ensemble" if row["self_ensemble"] else ""
  step = f", step {row['step']}" if row["step"] is not None else ""
  return Table(
    f"{network}{plus}{step} on {row['benchmark']}, protocol {protocol.name}",
    ["picture", "bicubic", "model", "gain"],
    [*rows, cells(f"mean of {len(rows)}", row)],
    [*_notes(row, protocol)],
    total=True,
  )


def _notes(row: Row, protocol: Protocol) -> Iterable[str]:
  # The paper has no scores in RGB.
  printed = row["paper"] if protocol.suffix == "y" else {}
  if "control" in printed:
    yield (
      f"paper: {row['model']} {pair(*printed['control'])} (quoted there from"
      " its own paper, protocol matlab)"
    )
  if "bam" in printed:
    yield (
      f"paper: {row['model']} with BAM {pair(*printed['bam'])} (measured there,"
      " protocol bam)"
    )
  if row["benchmark"] == "Set5" and protocol.name == "matlab":
    yield (
      "bicubic upscales the RGB picture to 8 bits; the literature's rows"
      " (33.66/.9299, 30.39/.8682, 28.42/.8104) upscale the luma plane alone"
    )
  if row[f"psnr_{protocol.suffix}"] is None:
    yield "not scored: there are no HR pictures"


def read(folder: str | Path) -> list[Row]:
  """Rows of a folder's results.json; none where there is no such file.

  Raises:
    UserError: the file is not one of results.
  """
  path = Path(folder) / RESULTS
  if not path.exists():
    return []
  try:
    rows = json.loads(path.read_text())
    for row in rows:
      table(row)  # needs what a row has
  except (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
  ) as error:
    raise UserError(
      f"{path} cannot be read as results ({error!r}); remove it, or give"
      " another folder"
    ) from None
  return rows


def _key(row: Row) -> tuple:
  return tuple(row.get(name) for name in _KEY)


def write(folder: str | Path, rows: list[Row]) -> None:
  """Writes results.json, results.csv and results.md.

  Rows that the folder holds already stay, but for those measured again.

  Raises:
    UserError: the folder cannot be written, or holds another results.json.
  """
  folder = Path(folder)
  merged = {_key(row): row for row in [*read(folder), *rows]}
  rows = list(merged.values())
  write_atomically(folder / "results.csv", to_csv(rows))
  tables = (table(row).markdown() for row in rows)
  write_atomically(folder / "results.md", "\n".join(tables))
  write_atomically(folder / RESULTS, json.dumps(rows, indent=2) + "\n")


def to_csv(rows: list[Row]) -> str:
  """A line for each picture and one for each mean, whose `image` is "mean"."""
  lines = []
  for row in rows:
    shared = {k: v for k, v in row.items() if k not in ("paper", "images")}
    for image in (*row["images"], {"name": "mean"}):
      scores = {k: v for k, v in image.items() if k != "name"}
      lines.append({**shared, "image": image["name"], **scores})
  names = list(dict.fromkeys(name for line in lines for name in line))
  out = io.StringIO()
  writer = csv.DictWriter(out, names, lineterminator="\n")
  writer.writeheader()
  writer.writerows(lines)
  return out.getvalue()
