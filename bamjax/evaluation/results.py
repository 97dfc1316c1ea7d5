"""Results of evaluations: rows, tables and the files that hold them."""

from collections.abc import Iterable
import csv
import io
import itertools
import json
import math
from pathlib import Path
from typing import Any

from bamjax import complexity
from bamjax.errors import UserError
from bamjax.evaluation import paper
from bamjax.evaluation import sr_origin
from bamjax.evaluation.protocols import Protocol
from bamjax.evaluation.protocols import PROTOCOLS
from bamjax.evaluation.scoring import mean_gain
from bamjax.evaluation.tables import pair
from bamjax.evaluation.tables import Table
from bamjax.files import to_json
from bamjax.files import write_atomically
from bamjax.models import registry
from bamjax.networks import Network

Row = dict[str, Any]

RESULTS = "results.json"
SCORES = ("psnr_y", "ssim_y", "bicubic_psnr_y", "bicubic_ssim_y")
# What tells a row from others: the same measured again takes its place.
_KEY = (
  "path",
  "step",
  "model",
  "attn",
  "scale",
  "normalization",
  "self_ensemble",
  "tile",
  "benchmark",
  "folder",
  "protocol",
)
# What a row has that is no score and no single value.
_LISTS = ("paper", "images", "left_out")


def make_row(
  network: Network,
  benchmark: str,
  protocol: Protocol,
  result: dict[str, Any],
  self_ensemble: bool = False,
  **place: Any,
) -> Row:
  """A row of results.json.

  Args:
    network: what was evaluated.
    benchmark: name of the images.
    protocol: how they were scored.
    result: what `bamjax.evaluation.scoring.evaluate` returns for this protocol.
    self_ensemble: whether the outputs were averaged over eight symmetries.
    **place: what else moves a score or tells one row from another: `path` of
      the weights, `folder`, the benchmark's folder, `tile`; and `saved`, the
      folder of the super-resolved images.

  Returns:
    The network, its `depth` where that is not the published one ("15 blocks"),
    its `parameters` as the paper's Table 1 counts them,
    `benchmark`, `protocol` and `protocol_version`; the means
    `psnr_y`, `ssim_y`, `bicubic_psnr_y`, `bicubic_ssim_y` (None under `ntire`,
    which has them with `rgb` for `y`, and where there is no HR); `paper`, what
    the paper prints for the control and for BAM, PSNR and SSIM; `images`, the
    scores of each; and `left_out`, the names of images that could not be
    used.
  """
  printed = {
    name: paper.find(network.model, attn, network.scale, benchmark)
    for name, attn in (("control", "native"), ("bam", "bam"))
  }
  return {
    **describe(network, benchmark, self_ensemble, **place),
    "parameters": complexity.parameters(network.module, network.variables),
    "protocol": protocol.name,
    "protocol_version": protocol.version,
    **dict.fromkeys(SCORES),
    **{key: value for key, value in result.items() if key not in _LISTS},
    "paper": {name: scores for name, scores in printed.items() if scores},
    "images": result["images"],
    "left_out": result.get("left_out", []),
  }


def describe(
  network: Network, benchmark: str, self_ensemble: bool = False, **place: Any
) -> Row:
  """What a row begins with: all but the protocol that tells it from others."""
  return {
    "model": network.model,
    "attn": network.attn,
    "scale": network.scale,
    "depth": network.depth.removeprefix(", "),
    "normalization": _normalization(network),
    "source": network.source,
    "step": network.step,
    "self_ensemble": self_ensemble,
    **place,
    "benchmark": benchmark,
  }


def _normalization(network: Network) -> str:
  """Its name; "its own" of weights that hold another."""
  known = registry.backbone(network.model).normalizations
  own = network.module.normalization
  return next((name for name, n in known.items() if n == own), "its own")


def table(row: Row) -> Table:
  """A row's images and means, bicubic and the paper's figures beside them."""
  protocol = PROTOCOLS[row["protocol"]]
  keys = [f"{name}_{protocol.suffix}" for name in ("psnr", "ssim")]
  origins = sr_origin.known(row["images"])

  def cells(name, scores, images):
    pairs = [(i[keys[0]], i[f"bicubic_{keys[0]}"]) for i in images]
    gain = mean_gain(pairs)
    return [
      name,
      pair(*(scores[f"bicubic_{key}"] for key in keys)),
      pair(*(scores[key] for key in keys)),
      "–" if math.isnan(gain) else f"{gain:+.2f} dB",
      *(sr_origin.cells(scores) if origins else ()),
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
  return Table(
    f"{network}{plus}{step}{tile} on {row['benchmark']}, protocol"
    f" {protocol.name}",
    [
      *("image", "bicubic", "SR" if is_sr(row) else "model", "gain"),
      *(sr_origin.HEADER if origins else ()),
    ],
    [*rows, cells(f"mean of {len(rows)}", row, row["images"])],
    [*_notes(row, protocol)],
    total=True,
  )


def is_sr(row: Row) -> bool:
  """Whether a row is of SR images that any program made, not of a network."""
  return row["model"] is None


def some(names: Iterable[str], most: int = 5) -> str:
  """Names in a line, the first few of many."""
  names = list(names)
  more = f" and {len(names) - most} more" if len(names) > most else ""
  return ", ".join(names[:most]) + more


def _notes(row: Row, protocol: Protocol) -> Iterable[str]:
  if row.get("source"):  # a run's summary is beside its run
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
        f"{method} equals HR, with an infinite PSNR that is not in its mean nor"
        f" in the mean gain: {some(equal)}"
      )
  yield from sr_origin.notes(row["images"], protocol, row["scale"])
  if row["left_out"]:
    yield f"left out: {some(row['left_out'])}"
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
      "bicubic upscales the RGB image to 8 bits; the literature's rows"
      " (33.66/.9299, 30.39/.8682, 28.42/.8104) upscale the luma plane alone"
    )
  if row[f"psnr_{protocol.suffix}"] is None:
    yield "not scored: there are no HR images"


def read(folder: str | Path) -> list[Row]:
  """Rows of a folder's results.json; none where there is no such file.

  Raises:
    UserError: the file is not one of results.
  """
  path = Path(folder) / RESULTS
  if not path.exists():
    return []
  try:
    rows = [restored(row) for row in json.loads(path.read_text("utf-8"))]
    for row in rows:
      table(row)  # needs what a row has
  except (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RecursionError,
  ) as error:
    raise UserError(
      f"{path} cannot be read as results ({error!r}); remove it, or give"
      " another folder"
    ) from None
  return rows


def restored(row: Row) -> Row:
  """A row as it was: PSNR is infinite where JSON has null beside SSIM."""

  def scores(found):
    full = dict(found)
    for name, value in found.items():
      similarity = found.get(name.replace("psnr", "ssim"))
      if "psnr" in name and value is None and similarity is not None:
        full[name] = math.inf
    return full

  images = [scores(image) for image in row["images"]]
  full = {"left_out": [], **scores(row), "images": images}
  if "pictures" in full:  # its name in files of older versions
    full["folder"] = full.pop("pictures")
  return full


def _key(row: Row, without: str = "") -> tuple:
  named = {**row, "path": row.get("path") or row.get("source")}
  return tuple(named.get(name) for name in _KEY if name != without)


def saved_in(rows: Iterable[Row], new: Row, name: str) -> str:
  """A folder for super-resolved images, which no others are in.

  Args:
    rows: of results.json.
    new: what `describe` says of what is to be saved.
    name: what the folder should be called; it gets a number if that is taken.
  """
  owners = {
    row["saved"].casefold(): _key(row, "protocol")
    for row in rows
    if row.get("saved")
  }
  own = _key(new, "protocol")
  numbered = (f"{name}-{i}" for i in itertools.count(2))
  return next(
    folder
    for folder in itertools.chain([name], numbered)
    if owners.get(folder.casefold(), own) == own
  )


def write(folder: str | Path, rows: list[Row]) -> None:
  """Writes results.json, results.csv and results.md.

  Rows that the folder holds already stay, but for those measured again.

  Raises:
    UserError: the folder cannot be written, or holds another results.json.
  """
  folder = Path(folder)
  merged = {_key(row): row for row in read(folder)}
  for row in rows:
    # The last measured is the last.
    before = merged.pop(_key(row), {}).get("saved")
    merged[_key(row)] = {**row, "saved": row.get("saved") or before}
  rows = list(merged.values())
  write_atomically(folder / "results.csv", to_csv(rows))
  tables = (table(row).markdown() for row in rows)
  write_atomically(folder / "results.md", "\n".join(tables))
  write_atomically(folder / RESULTS, to_json(rows, indent=2) + "\n")


def to_csv(rows: list[Row]) -> str:
  """A line for each image and one for each mean, whose `image` is "mean"."""
  lines = []
  for row in rows:
    shared = {k: v for k, v in row.items() if k not in _LISTS}
    for image in (*row["images"], {"name": "mean"}):
      scores = {k: v for k, v in image.items() if k != "name"}
      lines.append({**shared, "image": image["name"], **scores})
  names = list(dict.fromkeys(name for line in lines for name in line))
  out = io.StringIO()
  writer = csv.DictWriter(out, names, lineterminator="\n")
  writer.writeheader()
  writer.writerows(lines)
  return out.getvalue()
