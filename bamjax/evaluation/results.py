"""Rows of results: one network on one benchmark with one protocol."""

from collections.abc import Iterator
import math
from typing import Any

from bamjax import complexity
from bamjax.data.sr_files import SrFiles
from bamjax.data.test_sets import Benchmark
from bamjax.evaluation import paper
from bamjax.evaluation import sr_images
from bamjax.evaluation.protocols import Protocol
from bamjax.evaluation.protocols import PROTOCOLS
from bamjax.evaluation.scoring import mean_gain
from bamjax.evaluation.tables import pair
from bamjax.evaluation.tables import some
from bamjax.evaluation.tables import Table
from bamjax.models import registry
from bamjax.networks import Network

Row = dict[str, Any]

SCORES = ("psnr_y", "ssim_y", "bicubic_psnr_y", "bicubic_ssim_y")
# Fields of a row that are neither scores nor single values.
LISTS = ("paper", "images", "left_out")
# Fields that identify a row: a new measurement replaces an equal one.
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
  "degradation",
  "protocol",
)

# What papers print for bicubic on Set5.
_LUMA = {2: "33.66/.9299", 3: "30.39/.8682", 4: "28.42/.8104"}


def make_row(
  network: Network,
  benchmark: str,
  protocol: Protocol,
  result: dict[str, Any],
  self_ensemble: bool = False,
  **place: Any,
) -> Row:
  """Makes a row of results.json.

  Args:
    network: the evaluated network.
    benchmark: name of the benchmark.
    protocol: how the images were scored.
    result: what `scoring.evaluate` returns for this protocol.
    self_ensemble: whether outputs were averaged over the eight symmetries.
    **place: further fields that affect a score or identify the row: `path` of
      the weights, `folder` of the benchmark, the name of LR's `degradation`,
      `tile`; and `saved`, the folder of the super-resolved images.

  Returns:
    The fields of `describe`; `parameters`, counted as in the paper's Table 1;
    `protocol` and `protocol_version`; the means `psnr_y` (dB), `ssim_y`,
    `bicubic_psnr_y` and `bicubic_ssim_y`, which are None without HR and for
    `ntire`, whose names end in `rgb`; `paper`, PSNR and SSIM that the paper
    prints for `control` and `bam`; `images`, the scores of each image; and
    `left_out`, the names of images that could not be used.
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
    **{key: value for key, value in result.items() if key not in LISTS},
    "paper": {name: scores for name, scores in printed.items() if scores},
    "images": result["images"],
    "left_out": result.get("left_out", []),
  }


def make_sr_row(
  sr_files: SrFiles,
  benchmark: Benchmark,
  protocol: Protocol,
  result: dict[str, Any],
) -> Row:
  """x: that of a network, without what files don't show.

  Args:
    sr_files: what was scored.
    benchmark: the images.
    protocol: how they were scored.
    result: what `sr_images.evaluate` returns for this protocol.
  """
  return {
    "model": None,
    "attn": None,
    "scale": sr_files.scale,
    "depth": "",
    "normalization": None,
    "source": sr_files.source,
    "step": None,
    "self_ensemble": False,
    "path": str(sr_files.folder.resolve()),
    "tile": None,
    "folder": benchmark.folder,
    "saved": None,
    "benchmark": benchmark.name,
    "parameters": None,
    "protocol": protocol.name,
    "protocol_version": protocol.version,
    **dict.fromkeys(SCORES),
    **result,
    "paper": {},
  }


def describe(
  network: Network, benchmark: str, self_ensemble: bool = False, **place: Any
) -> Row:
  """Makes the fields of a row that are known before it is scored.

  Args:
    network: the network.
    benchmark: name of the benchmark.
    self_ensemble: whether outputs are averaged over the eight symmetries.
    **place: further fields, as in `make_row`.

  Returns:
    `model`, `attn`, `scale`, `depth` ("15 blocks" if not the published one),
    `normalization`, `source`, `step`, `self_ensemble`, `benchmark` and the
    fields of `place`.
  """
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
  """Name of the normalization; "its own" if the weights contain another."""
  known = registry.backbone(network.model).normalizations
  own = network.module.normalization
  return next((name for name, n in known.items() if n == own), "its own")


def is_sr(row: Row) -> bool:
  """Whether a row is of SR images by any program, not of a network."""
  return row["model"] is None


def key(row: Row, without: str = "") -> tuple[Any, ...]:
  """Returns what identifies a row, without one of the fields if named."""
  named = {**row, "path": row.get("path") or row.get("source")}
  return tuple(named.get(name) for name in _KEY if name != without)


def restored(row: Row) -> Row:
  """Restores a row that was read from JSON.

  JSON has no infinity: a null PSNR next to an SSIM was infinite.
  """

  def scores(found: Row) -> Row:
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


def table(row: Row) -> Table:
  """Formats a row: its images, their mean, and notes with the paper's scores.

  Args:
    row: the row.
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
