"""Compare attentions on equal terms, over several seeds.

  bamjax ablate --models=imdn,pan --attns=native,bam,cbam --seeds=0,1,2 \\
    --data=folder --data_dir=IMAGES --steps=100000 --benchmarks=Set14,BSD100
  bamjax ablate … --list        # the cells, their cost and time
  bamjax ablate … --shard=2/8   # every eighth cell, from the third on

Each combination of backbone, attention and seed is a cell: one training by the
same recipe. Run the same command again to resume; finished cells are skipped.
Several local GPUs work on one cell each. Writes the differences from the
control, with 95 % intervals over images and seeds, to ablation.json, .csv,
.md, .png and .html; these cover all cells that are finished.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
from pathlib import Path
from typing import Any
from typing import TYPE_CHECKING

from absl import flags

from bamjax.commands import train
from bamjax.commands.options import option
from bamjax.commands.options import SCALES
from bamjax.errors import require

if TYPE_CHECKING:
  from bamjax.ablation.cells import Study


# Besides those of the trainings: tables, figure and page.
_PACKAGES = ("jinja2", "matplotlib")


def define_config(
  name: str,
  help_text: str,
  values: flags.FlagValues,
  arguments: Sequence[str],
) -> None:
  """Defines --config; its default is the paper's recipe."""
  packages = (*train.PACKAGES, *_PACKAGES)
  require("an ablation", *packages, extra="train,report")
  train.define_config(name, help_text, values, arguments)


@dataclasses.dataclass(frozen=True)
class Options:
  """What to compare, and by which recipe."""

  models: Sequence[str] = option(
    (), "backbones, e.g. imdn,pan", value="NAME,NAME"
  )
  attns: Sequence[str] = option(
    ("native", "bam"),
    "attentions; native is the backbone's own, none leaves it out",
    value="NAME,NAME",
  )
  seeds: Sequence[int] = option((0, 1, 2), "seeds, a training each")
  control: str | None = option(
    None,
    "attention to compare the others with; if omitted, the first of --attns",
    value="NAME",
  )
  benchmarks: Sequence[str] = option(
    (), "folders of test images, e.g. Set14", value="DIR,DIR", paths=True
  )
  protocol: str = option(
    "matlab", "evaluation protocol: matlab, bam or ntire", value="NAME"
  )
  test_degradations: Sequence[str] = option(
    ("bicubic",),
    "what degrades the test images' LR, each a table of its own: bicubic"
    " (nothing), noise:SIGMA, jpeg:QUALITY, photo:SEED",
    value="NAME,NAME",
  )
  budget: str = option(
    "steps",
    "what all attentions of a backbone get alike: steps, or seconds: those that"
    " the control takes for its steps",
    choices=("steps", "seconds"),
  )
  list: bool = option(
    False,
    "print the cells, their cost and an estimate of the time; no training",
  )
  shard: str | None = option(
    None, "work on every n-th cell from the i-th on, i from 0", value="i/n"
  )
  output: str = option("ablation", "folder of the study", value="DIR")
  options: Sequence[str] = option(
    (),
    "hyper-parameters of all backbones, or of one: pan:blocks=6",
    value="[MODEL:]FIELD=VALUE",
    whole=True,
  )
  config: Any = option(
    None,
    "recipe (e.g. default or quickstart) or configuration file; if omitted, the"
    " paper's recipe",
    value="NAME|FILE",
    define=define_config,
  )
  scale: int | None = option(
    None, "upscaling factor: 2, 3, 4 or 8", numbers=SCALES
  )
  data: str | None = option(
    None, "source of the images: div2k, folder or sample", value="NAME"
  )
  data_dir: str | None = option(
    None, "folder of the training images (--data=div2k or folder)", value="DIR"
  )
  val_dir: str | None = option(
    None, "folder of the validation images (--data=folder)", value="DIR"
  )
  manual_dir: str | None = option(
    None, "folder of DIV2K's zip files, if already downloaded", value="DIR"
  )
  data_mode: str | None = option(
    None, "where patches are cut: tfdata or resident", value="NAME"
  )
  degradation: str | None = option(
    None,
    "what LR is trained on: bicubic (nothing), noise, jpeg or photo",
    value="NAME",
  )
  cache_dir: str | None = option(
    None, "folder for decoded images, shared between cells", value="DIR"
  )
  steps: int | None = option(None, "training steps of a cell")
  batch_size: int | None = option(None, "patches in a step")


def start(options: Options) -> None:
  """Leaves the accelerators to the workers, before JAX is used."""
  del options
  import jax

  jax.config.update("jax_platforms", "cpu")


def run(options: Options) -> int:
  """Trains and compares the cells, or lists them.

  Returns:
    The exit status: 0, or 1 if a cell failed.

  Raises:
    UserError: a flag, the recipe, the data or a folder is invalid.
  """
  # Imports are here so that --help and --list are quick.
  study = _study(options)
  if options.list:
    from bamjax.ablation import study_list

    study_list.describe(study, options.shard or "")
    return 0
  from bamjax.ablation import study_run
  from bamjax.ablation.worker_process import Workers

  return study_run.run(study, Workers(), options.shard or "")


def _study(options: Options) -> Study:
  from bamjax.ablation import cells

  recipe = train.fill(options.config, options)
  attns = tuple(options.attns)
  return cells.Study(
    recipe,
    tuple(options.models),
    attns,
    tuple(options.seeds),
    tuple(options.benchmarks),
    Path(options.output),
    options.control or (attns[0] if attns else ""),
    cells.parse_options(options.options, options.models),
    options.protocol,
    options.budget,
    tuple(options.test_degradations),
  )
