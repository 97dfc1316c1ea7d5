"""A row of results as a table, next to bicubic upscaling and the paper."""

from collections.abc import Iterator
import math
from typing import Any

from bamjax.evaluation import sr_images
from bamjax.evaluation.protocols import Protocol
from bamjax.evaluation.protocols import PROTOCOLS
from bamjax.evaluation.results import is_sr
from bamjax.evaluation.results import Row
from bamjax.evaluation.scoring import mean_gain
from bamjax.evaluation.tables import pair
from bamjax.evaluation.tables import some
from bamjax.evaluation.tables import Table

# What papers print for bicubic on Set5.
_LUMA = {2: "33.66/.9299", 3: "30.39/.8682", 4: "28.42/.8104"}


def table(row: Row) -> Table:
  """Formats a row: its images, their mean, and notes with the paper's scores.

  Args:
    row: a row of `bamjax.evaluation.results`.
  """
  protocol = PROTOCOLS[row["protocol"]]
  keys = [f"{name}_{protocol.suffix}" for name in ("psnr", "ssim")]
  origins = sr_images.known(row["images"])

  def cells(
    name: str, scores: dict[str, Any], images: list[dict[str, Any]]
  ) -> list[str]:
    gain = mean_gain((i[keys[0]], i[f"bicubic_{keys[0]}"]) for i in images)
    return [
      name,
      pair(scores[f"bicubic_{keys[0]}"], scores[f"bicubic_{keys[1]}"]),
      pair(scores[keys[0]], scores[keys[1]]),
      # Adding 0 makes −0.00 positive.
      "–" if math.isnan(gain) else f"{round(gain, 2) + 0:+.2f} dB",
      *(sr_images.cells(scores) if origins else ()),
    ]

  rows = [cells(image["name"], image, [image]) for image in row["images"]]
  depth = f", {row['depth']}" if row.get("depth") else ""
  name = f"{row['model']} {row['attn']}"
  if is_sr(row):
    name = f"images of {row['source']}"
  network = f"{name} ×{row['scale']}{depth}"
  plus = " self-ensemble" if row["self_ensemble"] else ""
  step = f", step {row['step']}" if row["step"] is not None else ""
  tile = "" if row.get("tile") is None else f", tile {row['tile']}"
  degradation = f" with {d}" if (d := row.get("degradation")) else ""
  return Table(
    f"{network}{plus}{step}{tile} on {row['benchmark']}{degradation}, protocol"
    f" {protocol.name}",
    [
      *("image", "bicubic", "SR" if is_sr(row) else "model", "gain"),
      *(sr_images.HEADER if origins else ()),
    ],
    [*rows, cells(f"mean of {len(rows)}", row, row["images"])],
    [*_notes(row, protocol)],
    total=True,
  )


def _notes(row: Row, protocol: Protocol) -> Iterator[str]:
  if row.get("source"):  # missing in a run's summary
    kind = row.get("normalization") or "paper"
    kind = "" if kind == "paper" else f", normalization {kind}"
    yield f"{'SR' if is_sr(row) else 'network'}: {row['source']}{kind}"
  if row.get("folder"):
    yield f"folder: {row['folder']}"
  key = f"psnr_{protocol.suffix}"
  for method, name in (("bicubic", f"bicubic_{key}"), ("the model", key)):
    equal = [i["name"] for i in row["images"] if i[name] == math.inf]
    if equal:
      yield (
        f"{method} equals HR (infinite PSNR, left out of mean PSNR and gain):"
        f" {some(equal)}"
      )
  yield from sr_images.notes(row["images"], protocol, row["scale"])
  if row["left_out"]:
    yield f"left out: {some(row['left_out'])}"
  # The paper has no RGB scores.
  clean = protocol.suffix == "y" and not row.get("degradation")
  printed = row["paper"] if clean else {}
  if "control" in printed:
    yield (
      f"paper: {row['model']} {pair(*printed['control'])} (quoted from its own"
      " paper, protocol matlab)"
    )
  if "bam" in printed:
    yield (
      f"paper: {row['model']} with BAM {pair(*printed['bam'])} (protocol bam)"
    )
  if clean and row["benchmark"] == "Set5" and protocol.name == "matlab":
    if luma := _LUMA.get(row["scale"]):
      yield (
        f"bicubic upscales the RGB image to 8 bits; the literature's {luma} is"
        " of upscaled luma"
      )
  if row[key] is None:
    yield "not scored: there are no HR images"
