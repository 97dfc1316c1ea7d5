"""The cells of an ablation: models × attentions × seeds of one recipe."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
from pathlib import Path
from typing import Any

from bamjax.ablation import score_basis
from bamjax.data.degradation import degrader
from bamjax.data.test_sets import benchmark_name
from bamjax.data.test_sets import find_benchmark
from bamjax.errors import UserError
from bamjax.evaluation import protocols
from bamjax.models import registry
from bamjax.runs import experiment
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import Recipe
from bamjax.training import distillation

BUDGETS = ("steps", "seconds")


@dataclasses.dataclass(frozen=True)
class Study:
  """What is compared, and how.

  Attributes:
    recipe: configuration that all cells share; its model, attn, seed and
      model_options are replaced.
    models: names of backbones.
    attns: attentions, the control among them.
    seeds: of the trainings.
    benchmarks: folders of test images.
    folder: of the results; the runs are in its cells/.
    control: the attention that the others are compared with.
    options: hyper-parameters by backbone, as for `create_model`.
    protocol: name of the evaluation protocol.
    budget: "steps": all cells train for the recipe's steps. "seconds": so does
      the control, and the others as many seconds as the control takes.
    degradations: of the test images' LR, as `evaluate` names them; each with
      each benchmark is a comparison.
  """

  recipe: Recipe
  models: Sequence[str]
  attns: Sequence[str]
  seeds: Sequence[int]
  benchmarks: Sequence[str]
  folder: Path
  control: str = "native"
  options: Mapping[str, Mapping[str, Any]] = dataclasses.field(
    default_factory=dict
  )
  protocol: str = "matlab"
  budget: str = "steps"
  degradations: Sequence[str] = ("bicubic",)

  @property
  def scale(self) -> int:
    """Upscaling factor."""
    return self.recipe.scale

  @functools.cached_property
  def tests(self) -> list[score_basis.Test]:
    """The benchmarks with each degradation, as they are at the first use."""
    return score_basis.find(
      self.benchmarks, self.scale, self.protocol, self.degradations
    )


@dataclasses.dataclass(frozen=True)
class Cell:
  """One training of a study.

  Attributes:
    config: the run's resolved configuration.
    folder: the run's folder.
  """

  config: Recipe
  folder: Path

  @property
  def name(self) -> str:
    """ "pan-bam-seed0"."""
    return self.folder.name

  @property
  def network(self) -> tuple[str, str]:
    """Backbone and attention, which cells of other seeds share."""
    return self.config.model, self.config.attn


def folders(study_folder: Path) -> list[Path]:
  """Folders of the cells that have begun, sorted by name."""
  found = (study_folder / "cells").glob("*/config.json")
  return sorted(path.parent for path in found)


def make_cells(study: Study) -> list[Cell]:
  """Lists a study's cells, seed by seed: a part of them is a comparison too.

  Raises:
    UserError: a name, a number or a field of the recipe is invalid.
  """
  _check(study)
  recipe, _ = distillation.find(study.recipe)
  cells = []
  for seed in dict.fromkeys(study.seeds):
    for model in dict.fromkeys(study.models):
      for attn in dict.fromkeys(study.attns):
        config = recipe_lib.changed(
          dataclasses.replace(recipe, model=model, attn=attn, seed=seed),
          {"model_options": study.options.get(model, {})},
        )
        experiment.check(config)
        experiment.build_model(config)
        name = f"{model}-{attn}-seed{seed}"
        cells.append(Cell(config, study.folder / "cells" / name))
  return cells


def _check(study: Study) -> None:
  """Raises UserError for flags that do not describe a study."""
  for name, flag in (
    ("models", "models"),
    ("attns", "attns"),
    ("seeds", "seeds"),
    ("benchmarks", "benchmarks"),
    ("degradations", "test_degradations"),
  ):
    if not getattr(study, name):
      raise UserError(f"no {name}: use --{flag}=A,B")
  for text in study.degradations:
    degrader.parse(text)
  for model in study.models:
    registry.backbone(model)
  if study.control not in study.attns:
    raise UserError(
      f"the control {study.control!r} is not among the attentions"
      f" {', '.join(study.attns)}: add it, or choose another --control"
    )
  if study.budget not in BUDGETS:
    raise UserError(
      f"unknown budget {study.budget!r}; choose from {', '.join(BUDGETS)}"
    )
  if extra := sorted(study.options.keys() - set(study.models)):
    raise UserError(f"--options names {', '.join(extra)}, which --models lacks")
  protocols.find([study.protocol])
  names = [benchmark_name(folder) for folder in study.benchmarks]
  if len(set(names)) < len(names):
    raise UserError(
      f"two benchmarks have the same name: {', '.join(sorted(names))}; rename"
      " a folder"
    )
  for folder in study.benchmarks:
    images = find_benchmark(folder, study.scale).images
    if missing := [image.name for image in images if image.hr is None]:
      raise UserError(f"{folder} has no HR image of {', '.join(missing)}")


def shard(cells: Sequence[Cell], text: str) -> list[Cell]:
  """Every n-th cell from the i-th on.

  Args:
    cells: all of them.
    text: "i/n" with 0 ≤ i < n; "" selects all.

  Raises:
    UserError: the text is not of that form.
  """
  if not text:
    return list(cells)
  try:
    i, n = map(int, text.split("/"))
  except ValueError:
    i, n = 0, 0
  if not 0 <= i < n:
    raise UserError(
      f"--shard is i/n with i from 0 to n - 1, e.g. 0/4; got {text!r}"
    )
  return list(cells[i::n])


def parse_options(
  texts: Sequence[str], models: Sequence[str]
) -> dict[str, dict[str, Any]]:
  """Hyper-parameters by backbone.

  Args:
    texts: "FIELD=VALUE,…" for all backbones or "MODEL:FIELD=VALUE,…" for one.
    models: names of the backbones.

  Raises:
    UserError: a text is not of that form.
  """
  found: dict[str, dict[str, Any]] = {}
  for text in texts:
    before, colon, after = text.partition(":")
    # A colon may also be part of a value, after the first "=".
    named = bool(colon) and "=" not in before
    options = recipe_lib.parse_options([after if named else text])
    for model in [before] if named else models:
      found.setdefault(model, {}).update(options)
  return found
