"""Scores a run's best checkpoint on its validation pictures.

python evaluate.py --run_dir=runs/pan-bam-x2-sample
"""

import json
from pathlib import Path

from absl import flags

from bamjax import cli

_RUN_DIR = flags.DEFINE_string("run_dir", None, "folder of a run of train.py")
_STEP = flags.DEFINE_integer("step", None, "checkpoint (default: the best)")
_OUTPUT = flags.DEFINE_string(
  "output", None, "folder for results.json (default: the run's)"
)


def main(argv):
  """Evaluates, prints a table and writes it as JSON."""
  del argv
  from bamjax import evaluation
  from bamjax.errors import UserError
  from bamjax.inference import Upscaler
  from bamjax.training import loop
  from bamjax.training import run_dir as run_dir_lib

  if not _RUN_DIR.value:
    raise UserError("no run named; give --run_dir=DIR, a folder of train.py")
  config, module, variables, step = run_dir_lib.load(
    Path(_RUN_DIR.value), _STEP.value
  )
  result = evaluation.evaluate(
    Upscaler(module, variables), loop.make_source(config).val, config.scale
  )
  title = f"{config.model} {config.attn} ×{config.scale}, step {step}"
  print(evaluation.table(result, title))
  output = Path(_OUTPUT.value or _RUN_DIR.value)
  output.mkdir(parents=True, exist_ok=True)
  row = {
    "model": config.model,
    "attn": config.attn,
    "scale": config.scale,
    "step": step,
    "benchmark": f"{config.data.source} validation",
    "protocol": "matlab",
    **{k: v for k, v in result.items() if k != "pictures"},
    "images": result["pictures"],
  }
  (output / "results.json").write_text(json.dumps([row], indent=2) + "\n")


if __name__ == "__main__":
  cli.run(main)
