"""Times networks as in the BAM paper: FPS = frames / total inference time.

  python benchmark.py
  python benchmark.py --models=imdn --attn=native,bam --scales=2,4 --sizes=200

On an accelerator the default is the paper's figure 6; on a CPU it is a small
part of that.
"""

import dataclasses
from pathlib import Path

from absl import flags

from bamjax import cli

_MODELS = flags.DEFINE_list("models", None, "backbones, e.g. pan,edsr_baseline")
_ATTN = flags.DEFINE_list("attn", None, "attentions: native, none, bam, …")
_SCALES = flags.DEFINE_list("scales", None, "upscaling factors: 2, 3, 4")
_SIZES = flags.DEFINE_list("sizes", None, "sides of the inputs, in pixels")
_FRAMES = flags.DEFINE_integer("frames", None, "frames per configuration")
_DTYPE = flags.DEFINE_string("dtype", None, "float32 or bfloat16")
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

  given = {
    "models": _MODELS.value,
    "attns": _ATTN.value,
    "scales": None if _SCALES.value is None else _integers(_SCALES),
    "sizes": None if _SIZES.value is None else _integers(_SIZES),
    "frames": _FRAMES.value,
    "dtype": _DTYPE.value,
  }
  given = {k: v for k, v in given.items() if v is not None}
  plan = dataclasses.replace(benchmarking.default_plan(), **given)
  plan.check()
  env = benchmarking.environment()
  print(f"{env['device']} ({env['platform']}), jax {env['jax']}")
  if env["platform"] == "cpu":
    print("on a CPU the defaults are small; all of figure 6 needs a GPU")
  benchmarking.run(plan, Path(_OUTPUT.value))
  print(f"written to {_OUTPUT.value}")


if __name__ == "__main__":
  cli.run(main)
