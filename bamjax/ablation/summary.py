"""What a study's folder holds so far: its finished cells, compared."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
from typing import Any

from bamjax.ablation import analysis
from bamjax.ablation import cell_states
from bamjax.ablation import equal_terms
from bamjax.ablation.analysis import Line
from bamjax.ablation.cell_costs import Cost
from bamjax.ablation.cell_costs import cost
from bamjax.ablation.cells import Cell
from bamjax.ablation.cells import Study
from bamjax.models import registry
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import Recipe

# Of cell.json: what may change a number beside the recipe.
_ENVIRONMENT = ("device", "devices", "precision", "jax")


@dataclasses.dataclass(frozen=True)
class Summary:
  """A study's comparisons, and what they rest on.

  Attributes:
    study: what was asked for.
    lines: by benchmark.
    finished: names of the cells that the lines are of.
    missing: names of the study's cells that are not finished.
    outdated: names of trained cells that the study does not name, and that have
      no scores of its test images as they are now.
    environments: the different devices and versions that cells ran on.
  """

  study: Study
  lines: Mapping[str, Sequence[Line]]
  finished: Sequence[str]
  missing: Sequence[str]
  outdated: Sequence[str]
  environments: Sequence[Mapping[str, Any]]

  @property
  def comparisons(self) -> int:
    """Intervals of PSNR on all benchmarks."""
    lines = [line for found in self.lines.values() for line in found]
    return sum(line.psnr.difference is not None for line in lines)


def summarize(study: Study, cells: Sequence[Cell]) -> Summary:
  """Compares all finished cells in a study's folder.

  Args:
    study: what was asked for. Finished cells of other models, attentions and
      seeds in its folder count too.
    cells: all of the study's.

  Raises:
    UserError: cells were not trained or scored on equal terms.
  """
  configs = equal_terms.read_configs(study.folder)
  finished = [
    path
    for path, config in configs.items()
    if cell_states.is_finished(study, path, config.steps)
  ]
  equal_terms.check_data(finished)
  # The command's order first.
  order = [cell.folder for cell in cells]
  finished.sort(key=lambda p: order.index(p) if p in order else len(order))
  rows = {path: cell_states.read_rows(path) for path in finished}
  keys = {
    path: (c.model, c.attn, c.seed)
    for path, c in configs.items()
    if path in rows
  }
  scored = analysis.read_scored(rows, keys, study.tests)
  facts = _facts([configs[path] for path in finished])
  lines = {
    name: analysis.analyse(found, study.control, facts)
    for name, found in scored.items()
  }
  notes = [
    cell_states.read_object(path / cell_states.NOTES) for path in finished
  ]
  environments: list[dict[str, Any]] = []
  for note in notes:
    found = {name: note.get(name) for name in _ENVIRONMENT}
    if found not in environments:
      environments.append(found)
  return Summary(
    study,
    lines,
    [path.name for path in finished],
    [cell.name for cell in cells if cell.folder not in finished],
    [
      path.name
      for path, config in configs.items()
      if path not in order
      and path not in finished
      and cell_states.is_trained(path, config.steps)
    ],
    environments,
  )


def _facts(
  configs: Sequence[Recipe],
) -> dict[tuple[str, str], tuple[str, int, Cost]]:
  """Kind of attention, steps and cost of each backbone and attention."""
  found: dict[tuple[str, str], tuple[str, int, Cost]] = {}
  for config in configs:
    key = config.model, config.attn
    if key not in found:
      found[key] = attention_kind(*key), config.steps, cost(config)
  return found


def attention_kind(model: str, attn: str) -> str:
  """The name of an attention, if it is called "native" too."""
  return registry.backbone(model).native if attn == "native" else attn


def to_dict(summary: Summary) -> dict[str, Any]:
  """What ablation.json holds."""
  study = summary.study
  recipe = recipe_lib.to_dict(study.recipe)
  for name in ("model", "attn", "seed", "model_options"):
    del recipe[name]
  return {
    "protocol": study.protocol,
    "scale": study.scale,
    "control": study.control,
    "budget": study.budget,
    "recipe": recipe,
    "options": {model: dict(o) for model, o in study.options.items()},
    "finished": list(summary.finished),
    "missing": list(summary.missing),
    "outdated": list(summary.outdated),
    "environments": list(summary.environments),
    "lines": [
      analysis.to_dict(line)
      for lines in summary.lines.values()
      for line in lines
    ],
  }
