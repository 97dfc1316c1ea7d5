"""Trains bamjax's shipped weights in a given number of minutes on one device.

  python -m benchmarks.pretrain trial --data_dir=TRAIN --val_dir=VAL \
    --output=results/pretrain
  python -m benchmarks.pretrain train --data_dir=TRAIN --val_dir=VAL \
    --output=results/pretrain --minutes=9

`trial` measures the steps per second of each stage (×2, ×3 and ×4 from ×2, ×2
and ×4 for photographs) in float32 and in bfloat16, and writes rates.json.
`train` takes the faster precision and as many steps as fit in the time, and
writes the weights of each stage to OUTPUT/kept as soon as it ends. It starts
from random weights (IMDN-BAM: --model=imdn), or with --start=shipped each stage
goes on from the shipped weights of its name, all for the same time.
"""

import argparse
import dataclasses
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
import time
from typing import Any

from absl import logging
import jax

from bamjax.commands import process
from bamjax.data import cache
from bamjax.data import crops
from bamjax.data import sources
from bamjax.errors import UserError
from bamjax.layers import compile_for
from bamjax.networks import load_network
from bamjax.runs import experiment
from bamjax.runs.recipe import changed
from bamjax.runs.recipe import Recipe
from bamjax.training import feed
from bamjax.training import loop
from bamjax.training import parallel
from bamjax.training import run_dir as run_dir_lib
from bamjax.weights import save_weights
from benchmarks import running
from configs import photo
from configs import pretrained

# Seconds of a stage besides its steps: images, compilation, validation.
_OVERHEAD = 24
_BEGIN = time.time()
_DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Stage:
  """One set of weights: its scale, what it starts from, its share of time."""

  name: str
  scale: int
  start: str
  share: float
  photo: bool = False


_STAGES = [
  Stage("x2", 2, "", 0.44),
  Stage("x3", 3, "x2", 0.18),
  Stage("x4", 4, "x2", 0.18),
  Stage("x2-photo", 2, "x2", 0.10, photo=True),
  Stage("x4-photo", 4, "x4", 0.10, photo=True),
]


def _tell(text: str) -> None:
  print(f"[{time.time() - _BEGIN:6.1f}] {text}", flush=True)


def _config(
  options: argparse.Namespace, stage: Stage, dtype: str, steps: int
) -> Recipe:
  """A stage's recipe: that of configs/, within the time."""
  recipe = pretrained.get_config()
  rate = options.learning_rate or recipe.optim.learning_rate
  changes: dict[str, Any] = {
    "model": options.model,
    "scale": stage.scale,
    "dtype": dtype,
    "steps": steps,
    "batch_size": options.batch_size,
    "data.patch": options.patch,
    "data.data_dir": options.data_dir,
    "data.val_dir": options.val_dir,
    "data.cache_dir": str(Path(options.output) / "cache"),
    "data.steps_per_dispatch": options.block,
    # One checkpoint, the last: with cosine decay it is the best.
    "eval_every": 10**9,
    "checkpoint_every": 10**9,
  }
  if stage.photo:
    ranges = photo.get_config().data.degradation_options
    changes["data.degradation"] = "photo"
    changes["data.degradation_options"] = ranges
  if options.blocks:
    changes["model_options"] = {"blocks": options.blocks}
  if options.start:
    rate *= 0.35 if stage.photo else 0.5
    changes["init_from"] = f"{options.model}-bam-{stage.name}"
  elif stage.start:
    rate *= 0.35 if stage.photo else 0.7
    run = Path(options.output) / stage.start
    # The shipped ones if that stage is not among those that run now.
    shipped = f"{options.model}-bam-{stage.start}"
    changes["init_from"] = str(run) if run.exists() else shipped
  return changed(recipe, {**changes, "optim.learning_rate": rate})


def _store(options: argparse.Namespace, scale: int) -> crops.CropStore:
  images = sources.make_source(
    "folder", scale, data_dir=options.data_dir, val_dir=options.val_dir
  ).train
  decoded = cache.decode(images, cache_dir=Path(options.output) / "cache")
  return crops.CropStore(decoded, options.patch)


def _rate(
  options: argparse.Namespace, stage: Stage, dtype: str, store: crops.CropStore
) -> float:
  """Compiles a stage's step; returns steps per second."""
  config = _config(options, stage, dtype, 1000)
  module = experiment.build_model(config)
  state = parallel.replicate(run_dir_lib.init_state(config, module))
  with jax.enable_x64(False), compile_for("many_runs"):
    advance, _ = feed.make_advance(config, store, 0)
    begin = time.perf_counter()
    for _ in range(2):  # the first compiles, the second may still tune
      state = jax.block_until_ready(advance(state, options.block))
    warm = time.perf_counter()
    for _ in range(4):
      state = advance(state, options.block)
    jax.block_until_ready(state)
  rate = 4 * options.block / (time.perf_counter() - warm)
  _tell(
    f"{stage.name} {dtype}: {rate:.1f} steps/s, ready in {warm - begin:.0f} s"
  )
  return rate


def _trial(options: argparse.Namespace) -> None:
  rates: dict[str, dict[str, float]] = {dtype: {} for dtype in _DTYPES}
  stores: dict[int, crops.CropStore] = {}
  for stage in options.stages:
    if stage.scale not in stores:
      stores[stage.scale] = _store(options, stage.scale)
    for dtype in _DTYPES:
      rates[dtype][stage.name] = _rate(
        options, stage, dtype, stores[stage.scale]
      )
      # Each as it comes: the time may be over before the next.
      text = json.dumps(rates, indent=1) + "\n"
      (Path(options.output) / "rates.json").write_text(text)


def _train(options: argparse.Namespace) -> None:
  out = Path(options.output)
  try:
    rates = json.loads((out / "rates.json").read_text())
  except OSError:
    raise UserError(f"{out} has no rates.json; run `trial` first") from None
  first = options.stages[0].name
  dtype = options.dtype or max(rates, key=lambda name: rates[name][first])
  end = _BEGIN + 60 * options.minutes
  _tell(f"training in {dtype}")
  # The images of later stages are decoded while the first trains.
  helper = subprocess.Popen(
    [sys.executable, "-m", "benchmarks.pretrain", "decode", *sys.argv[2:]],
    env={**os.environ, "JAX_PLATFORMS": "cpu"},
  )
  speed = 1.0  # of this run's steps against the trial's
  for i, stage in enumerate(options.stages):
    left = options.stages[i:]
    share = stage.share / sum(s.share for s in left)
    share = 1 / len(left) if options.start else share
    seconds = share * (end - time.time() - _OVERHEAD * len(left))
    rate = rates[dtype][stage.name] * speed
    log = 10 * options.block
    steps = max(1, int(rate * seconds / log)) * log
    _tell(f"{stage.name}: {steps} steps, {seconds:.0f} s at {rate:.1f} steps/s")
    begin = time.time()
    loop.train_and_evaluate(
      _config(options, stage, dtype, steps), out / stage.name
    )
    _keep(out, stage.name)
    took = time.time() - begin
    speed *= min(1.2, max(0.5, steps / rate / max(1.0, took - _OVERHEAD)))
    _tell(f"{stage.name}: took {took:.0f} s")
  helper.wait()


def _keep(out: Path, name: str) -> None:
  """Copies what is to be kept of a run to OUTPUT/kept."""
  kept = out / "kept"
  kept.mkdir(exist_ok=True)
  for file in ("config.json", "summary.json", "metrics.jsonl", "data.json"):
    shutil.copy(out / name / file, kept / f"{name}-{file}")
  network = load_network(str(out / name))
  save_weights(kept / f"{name}.safetensors", network.module, network.variables)


def main() -> None:
  """Runs the command line."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("command", choices=("trial", "train", "decode"))
  parser.add_argument("--data_dir", required=True)
  parser.add_argument("--val_dir", required=True)
  parser.add_argument("--output", required=True)
  parser.add_argument("--minutes", type=float, default=9.0)
  parser.add_argument("--start", default="", choices=("", "shipped"))
  parser.add_argument("--dtype", default="", choices=("", *_DTYPES))
  parser.add_argument(
    "--stages", default=",".join(stage.name for stage in _STAGES)
  )
  parser.add_argument("--model", default="pan")
  parser.add_argument(
    "--learning_rate", type=float, default=0.0, help="0: the recipe's"
  )
  parser.add_argument("--patch", type=int, default=64)
  parser.add_argument("--batch_size", type=int, default=32)
  parser.add_argument("--block", type=int, default=50, help="steps a call")
  parser.add_argument(
    "--blocks", type=int, default=0, help="0: the model's own"
  )
  options = parser.parse_args()
  wanted = options.stages.split(",")
  options.stages = [stage for stage in _STAGES if stage.name in wanted]
  if len(options.stages) != len(wanted):
    known = ", ".join(stage.name for stage in _STAGES)
    raise UserError(f"--stages={','.join(wanted)}: choose from {known}")
  logging.set_verbosity(logging.WARNING)
  Path(options.output).mkdir(parents=True, exist_ok=True)
  process.keep_compiled()
  process.handle_signals()
  if options.command == "trial":
    _trial(options)
  elif options.command == "train":
    _train(options)
  else:
    for scale in sorted({stage.scale for stage in options.stages[1:]}):
      _store(options, scale)


if __name__ == "__main__":
  running.run(main)
