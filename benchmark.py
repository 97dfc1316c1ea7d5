"""Times networks as in the BAM paper: FPS = frames / total inference time.

  python benchmark.py
  python benchmark.py --models=imdn --attn=native,bam --scales=2,4 --sizes=200
  python benchmark.py --train
  python benchmark.py --rival=super-image

On an accelerator the default is the paper's figure 6; on a CPU it is a small
part of that. Writes a JSON file and, beside it, a PNG figure.
"""

import dataclasses
from pathlib import Path

from absl import flags

from bamjax.commands import cli
from bamjax.commands import list_flags

_MODELS = list_flags.define("models", None, "backbones, e.g. pan,edsr_baseline")
_ATTN = list_flags.define("attn", None, "attentions: native, none, bam, …")
_SCALES = list_flags.define("scales", None, "upscaling factors: 2, 3, 4")
_SIZES = list_flags.define("sizes", None, "sides of the inputs, in pixels")
_FRAMES = flags.DEFINE_integer("frames", None, "frames per configuration")
_ROUNDS = flags.DEFINE_integer("rounds", None, "turns that they are timed in")
_DTYPE = flags.DEFINE_string("dtype", None, "float32 or bfloat16")
_BATCH = flags.DEFINE_integer("batch_size", None, "images of a frame or step")
_TRAIN = flags.DEFINE_bool("train", False, "time training steps")
_RIVAL = flags.DEFINE_enum(
  "rival", None, ["super-image"], "a PyTorch package to time beside"
)
_FORMS = list_flags.define(
  "rival_forms", None, "of the rival, e.g. eager NCHW,compiled channels-last"
)
_OUTPUT = flags.DEFINE_string("output", "benchmark.json", "the JSON file")


def _integers(flag):
  from bamjax.errors import UserError

  try:
    return tuple(int(value) for value in flag.value)
  except ValueError:
    raise UserError(
      f"--{flag.name} takes whole numbers, separated by commas; got"
      f" {','.join(flag.value)!r}"
    ) from None


def main(argv):
  """Fills the plan from the flags and runs it."""
  del argv
  # Imported here so that --help is immediate.
  from bamjax import benchmarking
  from bamjax.benchmarking.machine import environment
  from bamjax.errors import UserError

  if _FORMS.value and not _RIVAL.value:
    raise UserError("--rival_forms goes with --rival=super-image")
  given = {
    "models": _MODELS.value,
    "attns": _ATTN.value,
    "scales": None if _SCALES.value is None else _integers(_SCALES),
    "sizes": None if _SIZES.value is None else _integers(_SIZES),
    "frames": _FRAMES.value,
    "rounds": _ROUNDS.value,
    "dtype": _DTYPE.value,
    "batch_size": _BATCH.value,
  }
  given = {k: v for k, v in given.items() if v is not None}
  plan = benchmarking.default_plan(train=_TRAIN.value)
  plan = dataclasses.replace(plan, **given)
  plan.check()
  rival = None
  if _RIVAL.value:
    from bamjax.benchmarking.super_image import make_rival

    rival = make_rival(_FORMS.value)
  env = environment()
  print(f"{env['device']} ({env['platform']}), jax {env['jax']}")
  if env["platform"] == "cpu":
    print("on a CPU the defaults are small; all of figure 6 needs a GPU")
  output = Path(_OUTPUT.value)
  benchmarking.run(plan, output, rival=rival)
  print(f"written to {output} and {output.with_suffix('.png')}")


if __name__ == "__main__":
  cli.run(main)
