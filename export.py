"""Writes a network as a file for use elsewhere.

python export.py --run_dir=runs/pan-bam-x2-sample --output=pan.safetensors
python export.py --weights=imdn_x2.pth --format=onnx --output=imdn.onnx
"""

import dataclasses
import json
from pathlib import Path

from absl import flags

from bamjax.commands import cli

flags.DEFINE_string("weights", None, "file of weights, or shipped ones' name")
flags.DEFINE_string("run_dir", None, "folder of a run of train.py")
flags.DEFINE_integer("step", None, "checkpoint of the run (default: the best)")
flags.DEFINE_string("model", None, "backbone, where the weights don't tell")
flags.DEFINE_string("attn", None, "attention, where the weights don't tell")
flags.DEFINE_integer("scale", None, "scale, of weights that serve for several")
flags.DEFINE_string("normalization", None, "paper, official or super_image")
flags.DEFINE_string(
  "format", None, "safetensors, stablehlo or onnx (default: by --output)"
)
flags.DEFINE_string(
  "card",
  None,
  "JSON file of what the model card says beside that of the weights' file;"
  " safetensors only",
)
flags.DEFINE_string("output", None, "file to write", short_name="o")


def _card(path):
  from bamjax.errors import UserError

  try:
    card = json.loads(Path(path).read_bytes()) if path else None
  except (OSError, ValueError, RecursionError) as error:
    raise UserError(f"--card={path} cannot be read: {error}") from None
  if not isinstance(card, dict | None):
    raise UserError(f"--card={path} holds no JSON object")
  return card


def main(argv):
  """Reads the flags and exports."""
  del argv
  values = {name: flags.FLAGS[name].value for name in flags.FLAGS}
  # Imported here so that --help is immediate.
  from bamjax import exporting
  from bamjax.errors import UserError
  from bamjax.files import refuse_overwriting
  from bamjax.networks import load_network
  from bamjax.weights import Hints

  if bool(values["weights"]) == bool(values["run_dir"]):
    raise UserError("give --weights=FILE or --run_dir=DIR")
  if not values["output"]:
    raise UserError("give --output=FILE")
  path = Path(values["output"])
  read = (values["weights"], values["run_dir"], values["card"])
  refuse_overwriting(path, filter(None, read))
  card = _card(values["card"])
  network = load_network(
    values["weights"] or values["run_dir"],
    Hints(**{f.name: values[f.name] for f in dataclasses.fields(Hints)}),
  )
  exporting.write(network, path, values["format"], card)
  print(f"{path}  {network.title}, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
  cli.run(main)
