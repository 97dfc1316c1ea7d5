"""Export a network for use elsewhere: safetensors, StableHLO or ONNX.

  bamjax export --run_dir=runs/pan-bam-x2-sample --output=pan.safetensors
  bamjax export --weights=imdn_x2.pth --format=onnx --output=imdn.onnx

The exported function maps RGB in [0, 1], N×H×W×3, to N×sH×sW×3; N, H and W are
free.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from bamjax.commands import selection
from bamjax.commands.options import option
from bamjax.errors import require
from bamjax.errors import RUN_PACKAGES
from bamjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Options(selection.OneNetwork):
  """What to export, and to which file."""

  output: str | None = option(
    None, "file to write; required", value="FILE", short="o"
  )
  format: str | None = option(
    None,
    "format of the file; if omitted, chosen by the extension of --output",
    choices=("safetensors", "stablehlo", "onnx"),
  )
  card: str | None = option(
    None,
    "JSON file with entries to add to the model card of the weights;"
    " safetensors and ONNX only",
    value="FILE",
  )


def run(options: Options) -> None:
  """Exports a network.

  Raises:
    UserError: a flag or a file is invalid.
  """
  # Imported here so that --help is immediate.
  from bamjax import exporting
  from bamjax.files import refuse_overwriting

  if not options.output:
    raise UserError("no file to write: use --output=FILE")
  path = Path(options.output)
  read = (options.weights, options.run_dir, options.card)
  refuse_overwriting(path, filter(None, read))
  card = _read_card(options.card) if options.card else None
  form = exporting.format_of(path, options.format)
  source = options.run_dir or options.weights
  if form == "onnx" and source and Path(source).is_dir():
    # Both at once: `load` would list those of runs only.
    packages = (*exporting.ONNX_PACKAGES, *RUN_PACKAGES)
    require("ONNX export of a run", *packages, extra="onnx,train")
  network = options.load()
  exporting.write(network, path, form, card)
  print(f"{path}  {network.title}, {path.stat().st_size:,} bytes")


def _read_card(path: str) -> dict[str, Any]:
  try:
    card = json.loads(Path(path).read_bytes())
  except (OSError, ValueError, RecursionError) as error:
    raise UserError(f"--card={path} cannot be read: {error}") from None
  if not isinstance(card, dict):
    raise UserError(f"--card={path} holds no JSON object")
  return card
