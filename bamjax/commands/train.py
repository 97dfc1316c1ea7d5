"""Train a super-resolution network.

  bamjax train --config=quickstart
  bamjax train --model=edsr --attn=bam --scale=2
  bamjax train --model=pan --data=folder --data_dir=IMAGES --scale=4

Flags fill fields of the configuration; --config.FIELD=VALUE sets any of them.
Run the same command again to resume an interrupted run; the result is
bit-identical to that of an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
from pathlib import Path
from typing import Any

from absl import flags

from bamjax.commands import config_flag
from bamjax.commands.options import option
from bamjax.commands.options import SCALES
from bamjax.errors import require
from bamjax.errors import RUN_PACKAGES
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import Recipe

# What every training imports.
PACKAGES = (*RUN_PACKAGES, "optax", "tensorboardX")


def define_config(
  name: str,
  help_text: str,
  values: flags.FlagValues,
  arguments: Sequence[str],
) -> None:
  """Defines --config; its default is the paper's recipe."""
  del arguments
  require("training", *PACKAGES, extra="train")
  config_flag.define(name, help_text, values)


@dataclasses.dataclass(frozen=True)
class Options:
  """What to train, on what, and how."""

  config: Any = option(
    None,
    f"recipe ({', '.join(config_flag.recipe_names())}) or configuration file;"
    " if omitted, the paper's recipe",
    value="NAME|FILE",
    define=define_config,
  )
  run_dir: str | None = option(
    None,
    "folder of the run; if omitted, runs/MODEL-ATTN-xSCALE-DATA",
    value="DIR",
  )
  model: str | None = option(None, "backbone, e.g. edsr or pan", value="NAME")
  attn: str | None = option(
    None,
    "attention: native (the backbone's own), none, bam, ca, cbam, …",
    value="NAME",
  )
  scale: int | None = option(
    None, "upscaling factor: 2, 3, 4 or 8", numbers=SCALES
  )
  options: Sequence[str] = option(
    (),
    "hyper-parameters of the backbone, e.g. blocks=8,features=32",
    value="FIELD=VALUE",
    whole=True,
  )
  data: str | None = option(
    None, "source of the images: div2k, folder or sample", value="NAME"
  )
  data_dir: str | None = option(
    None, "folder of the training images (--data=div2k or folder)", value="DIR"
  )
  val_dir: str | None = option(
    None,
    "folder of the validation images (--data=folder); if omitted, a few of"
    " --data_dir are held out",
    value="DIR",
  )
  manual_dir: str | None = option(
    None, "folder of DIV2K's zip files, if already downloaded", value="DIR"
  )
  data_mode: str | None = option(
    None,
    "tfdata cuts patches on the host; resident keeps all images on the device"
    " and cuts them there",
    value="NAME",
  )
  cache_dir: str | None = option(
    None,
    "folder for decoded images, shared between runs; if omitted, they are kept"
    " in memory, or in the run's folder if they do not fit",
    value="DIR",
  )
  degradation: str | None = option(
    None,
    "what LR is degraded by, on the device: bicubic (nothing else), noise, jpeg"
    " or photo",
    value="NAME",
  )
  degradation_options: Sequence[str] = option(
    (),
    "ranges that it draws from, e.g. sigma=(0,50) for noise",
    value="FIELD=VALUE",
    whole=True,
  )
  teacher: str | None = option(
    None,
    "network of the same scale whose outputs are learned: a file of weights,"
    " the name of shipped weights, or a run",
    value="PATH",
  )
  teacher_weight: float | None = option(
    None,
    "weight of the teacher's output as the target, 0 to 1; HR has the rest; if"
    " omitted, 0.5",
  )
  teacher_ensemble: bool | None = option(
    None, "average the teacher's outputs over the eight flips and rotations"
  )
  lr_only: float | None = option(
    None,
    "share of patches, 0 to 1, that are LR without HR, cut from the images' own"
    " pixels at full, half or quarter size, for the teacher",
  )
  permute_rgb: bool | None = option(
    None, "permute the color channels of each patch at random"
  )
  init_from: str | None = option(
    None,
    "weights or a run to start from: every array whose name and shape match is"
    " copied",
    value="PATH",
  )
  steps: int | None = option(None, "training steps of the whole run")
  batch_size: int | None = option(None, "patches in a step, over all devices")
  seed: int | None = option(None, "random seed of the run")
  distributed: bool = option(
    False, "join the other processes of SLURM, MPI or Kubernetes"
  )
  coordinator: str | None = option(
    None,
    "address of process 0, to start processes by hand",
    value="HOST:PORT",
  )
  num_processes: int | None = option(
    None, "number of processes, with --coordinator"
  )
  process_id: int | None = option(
    None, "number of this process, from 0, with --coordinator"
  )


# Fields of the configuration, by the option that fills them.
_FIELDS = {
  "model": "model",
  "attn": "attn",
  "scale": "scale",
  "data": "data.source",
  "data_dir": "data.data_dir",
  "val_dir": "data.val_dir",
  "manual_dir": "data.manual_dir",
  "data_mode": "data.mode",
  "degradation": "data.degradation",
  "cache_dir": "data.cache_dir",
  "teacher": "teacher.source",
  "teacher_weight": "teacher.weight",
  "teacher_ensemble": "teacher.ensemble",
  "lr_only": "data.lr_only",
  "permute_rgb": "data.permute_rgb",
  "init_from": "init_from",
  "steps": "steps",
  "batch_size": "batch_size",
  "seed": "seed",
}


def fill(recipe: Recipe, options: Any) -> Recipe:
  """Returns a recipe with the values of the short flags."""
  given = {f: getattr(options, name, None) for name, f in _FIELDS.items()}
  return recipe_lib.changed(
    recipe, {f: value for f, value in given.items() if value is not None}
  )


def start(options: Options) -> None:
  """Joins the other processes, if there are any, before JAX is used."""
  from bamjax.training import distributed

  by_hand = (options.coordinator, options.num_processes, options.process_id)
  if options.distributed or by_hand != (None, None, None):
    distributed.initialize(*by_hand)


def run(options: Options) -> None:
  """Trains a network and prints its scores.

  Raises:
    UserError: the configuration, the data or the run's folder is invalid.
  """
  # Imported here so that --help is immediate.
  from bamjax.evaluation import results
  from bamjax.training import distributed
  from bamjax.training import loop

  recipe = distributed.together(lambda: _resolved(options))
  run_dir = Path(options.run_dir or recipe_lib.default_run_dir(recipe))
  summary = loop.train_and_evaluate(recipe, run_dir)
  if summary:
    print(results.table(summary).text())
    print(f"written to {run_dir}; scores in summary.json")


def _resolved(options: Options) -> Recipe:
  """Returns the recipe with the flags' values."""
  return recipe_lib.changed(
    fill(options.config, options),
    {
      "model_options": recipe_lib.parse_options(options.options),
      "data.degradation_options": recipe_lib.parse_options(
        options.degradation_options
      ),
    },
  )
