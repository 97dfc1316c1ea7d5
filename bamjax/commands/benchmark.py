"""Time inference or training steps, as the BAM paper does.

  bamjax benchmark
  bamjax benchmark --models=imdn --attn=native,bam --scales=2,4 --sizes=200
  bamjax benchmark --train
  bamjax benchmark --rival=super-image

FPS = frames / total inference time, without compilation and warm-up. On an
accelerator the default is the paper's figure 6, on a CPU a small part of
it. Prints a table, and writes a JSON file and a PNG figure of the same name.
"""

from collections.abc import Sequence
import dataclasses
from pathlib import Path

from bamjax.commands.options import option
from bamjax.commands.options import SCALES
from bamjax.errors import require
from bamjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Options:
  """What to time."""

  models: Sequence[str] | None = option(
    None, "backbones, e.g. pan,edsr_baseline", value="NAME,NAME"
  )
  attn: Sequence[str] | None = option(
    None,
    "attentions, e.g. native,bam; native is the backbone's own, the paper's"
    " control",
    value="NAME,NAME",
  )
  scales: Sequence[int] | None = option(
    None, "upscaling factors, e.g. 2,4", numbers=SCALES
  )
  sizes: Sequence[int] | None = option(
    None, "sides of the square inputs, in LR pixels"
  )
  frames: int | None = option(
    None, "frames, or training steps, counted for each configuration"
  )
  rounds: int | None = option(
    None, "rounds that the frames are split into; the networks take turns"
  )
  dtype: str | None = option(
    None,
    "precision of the computation; auto is bfloat16 on CPUs that multiply it"
    " natively, else float32; if omitted, float32",
    choices=("auto", "float32", "bfloat16"),
  )
  batch_size: int | None = option(None, "images in a frame or training step")
  train: bool = option(False, "time training steps instead of inference")
  rival: str | None = option(
    None,
    "time these PyTorch networks as well, with the same weights",
    choices=("super-image",),
  )
  rival_forms: Sequence[str] | None = option(
    None,
    "how PyTorch runs: eager, compiled or, on a GPU, captured or graphed (these"
    " two as a CUDA graph), each with NCHW or channels-last, e.g. 'eager NCHW',"
    " and with --dtype=bfloat16 also with autocast or float32 after it; if"
    " omitted, all",
    value="FORM,FORM",
  )
  output: str = option(
    "benchmark.json",
    "JSON file; the figure has the same name with .png",
    value="FILE",
  )


# Fields of `Plan`, and the options that fill them.
_PLAN = {
  "models": "models",
  "attns": "attn",
  "scales": "scales",
  "sizes": "sizes",
  "frames": "frames",
  "rounds": "rounds",
  "dtype": "dtype",
  "batch_size": "batch_size",
}


def run(options: Options) -> None:
  """Times networks.

  Raises:
    UserError: a flag is invalid, or a package is missing.
  """
  if options.rival_forms and not options.rival:
    raise UserError("--rival_forms needs --rival=super-image")
  require(
    "a benchmark",
    *("matplotlib", "optax", *(["torch"] if options.rival else [])),
    extra="benchmark,torch" if options.rival else "benchmark",
  )
  # Imported here so that --help is immediate.
  from bamjax import benchmarking
  from bamjax.benchmarking.machine import environment

  chosen = {field: getattr(options, name) for field, name in _PLAN.items()}
  if options.dtype == "auto":
    from bamjax.inference.precision import prefers_bfloat16

    chosen["dtype"] = "bfloat16" if prefers_bfloat16() else "float32"
  plan = dataclasses.replace(
    benchmarking.default_plan(train=options.train),
    **{name: value for name, value in chosen.items() if value is not None},
  )
  plan.check()
  rival = None
  if options.rival:
    from bamjax.benchmarking.super_image import make_rival

    rival = make_rival(options.rival_forms, options.train, plan.dtype)
  found = environment()
  print(f"{found['device']} ({found['platform']}), jax {found['jax']}")
  if found["platform"] == "cpu":
    print("on a CPU the defaults are small; all of figure 6 needs a GPU")
  output = Path(options.output)
  benchmarking.run(plan, output, rival=rival)
  print(f"written to {output} and {output.with_suffix('.png')}")
