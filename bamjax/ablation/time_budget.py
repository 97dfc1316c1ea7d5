"""Equal seconds: how many steps each network trains for.

The control trains for the recipe's steps, and every other network of the same
backbone for as many steps as take the same time. The schedule is stretched with
the steps. The step times are kept in budget.json with what they are of: the
network, the rest of the recipe that a step's time depends on, and the machine.
So resumed studies, and shards on equal machines, use the same numbers. Cells
that have begun keep their lengths on another machine, too.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
from pathlib import Path
from typing import Any

from bamjax.ablation import equal_terms
from bamjax.ablation.cell_states import positive
from bamjax.ablation.cell_states import read_object
from bamjax.ablation.cells import Cell
from bamjax.ablation.equal_terms import LENGTH
from bamjax.files import write_atomically
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import Recipe

BUDGET = "budget.json"

Measure = Callable[[Sequence[Recipe]], list[float]]
Machine = Mapping[str, Any]
Network = tuple[str, str]

# Fields of the configuration that a step's time depends on, without `LENGTH`.
_TIMED = (
  "model",
  "attn",
  "model_options",
  "normalization",
  "scale",
  "dtype",
  "batch_size",
  "parallel",
  "optim",
)


@dataclasses.dataclass(frozen=True)
class _Time:
  """A measured step; `terms` is what it depends on beside the machine."""

  name: str
  terms: Any
  machine: Any
  seconds: float

  def fits(self, config: Recipe) -> bool:
    """Whether it is the time of a configuration's step."""
    return self.name == _name(config) and self.terms == _terms(config)


def apply(
  cells: Sequence[Cell],
  control: str,
  study_folder: Path,
  measure: Measure,
  machine: Machine,
) -> list[Cell]:
  """Gives each cell its number of steps; measures and keeps what is missing.

  Args:
    cells: with the control's steps.
    control: the attention whose time all cells of a backbone get.
    study_folder: where budget.json is, or will be.
    measure: returns the seconds of a training step of each configuration.
    machine: what describes the machine that `measure` runs on.
  """
  times = _read(study_folder / BUDGET)
  configs = {cell.network: cell.config for cell in cells}
  found = ratios(cells, control, study_folder, machine)
  missing = [network for network in configs if network not in found]
  if missing:
    bases = [(model, control) for model, _ in missing]
    here = [time for time in times if time.machine == machine]
    wanted = [
      configs[network]
      for network in dict.fromkeys([*bases, *missing])
      if not any(time.fits(configs[network]) for time in here)
    ]
    seconds = measure(wanted)
    times += [
      _Time(_name(config), _terms(config), dict(machine), taken)
      for config, taken in zip(wanted, seconds, strict=True)
    ]
    text = json.dumps([dataclasses.asdict(time) for time in times], indent=2)
    write_atomically(study_folder / BUDGET, f'{{"step_times": {text}}}\n')
    found = ratios(cells, control, study_folder, machine)
  return resized(cells, found)


def ratios(
  cells: Sequence[Cell],
  control: str,
  study_folder: Path,
  machine: Machine | None,
) -> dict[Network, float]:
  """How many steps networks take in the time of one of their control's.

  Args:
    cells: the study's.
    control: the attention whose time all cells of a backbone get.
    study_folder: where budget.json and the cells are.
    machine: the one to train on; None if it is unknown.

  Returns:
    The ratios of those networks of which a cell has begun, like one of the
    control, or whose times have been measured on this machine.
  """
  configs = {cell.network: cell.config for cell in cells}
  begun = {
    (config.model, config.attn): config
    for config in equal_terms.read_configs(study_folder).values()
  }
  times = [t for t in _read(study_folder / BUDGET) if t.machine == machine]
  found: dict[Network, float] = {}
  for network, config in configs.items():
    base = configs[config.model, control]
    kept = begun.get((config.model, control))
    same = kept and not recipe_lib.differences(
      kept, dataclasses.replace(base, seed=kept.seed)
    )
    own, other = (
      next((time.seconds for time in times if time.fits(each)), None)
      for each in (config, base)
    )
    if config.attn == control:
      found[network] = 1.0
    elif same and network in begun:
      # By the longest of the numbers, since all are rounded.
      longest = recipe_lib.flatten(base)
      field = max(LENGTH, key=longest.__getitem__)
      flat = recipe_lib.flatten(begun[network])
      found[network] = flat[field] / longest[field]
    elif own and other:
      found[network] = other / own
  return found


def resized(
  cells: Sequence[Cell], found: Mapping[Network, float]
) -> list[Cell]:
  """Cells with their numbers of steps, as far as their ratios are known."""
  return [_resize(cell, found.get(cell.network, 1.0)) for cell in cells]


def _read(path: Path) -> list[_Time]:
  """The valid entries of budget.json; what is damaged is measured again."""
  times = []
  entries = read_object(path).get("step_times")
  for entry in entries if isinstance(entries, list) else ():
    fields = [field.name for field in dataclasses.fields(_Time)]
    if isinstance(entry, dict) and sorted(entry) == sorted(fields):
      times.append(_Time(**entry))
  return [time for time in times if positive(time.seconds)]


def _name(config: Recipe) -> str:
  return f"{config.model} {config.attn}"


def _terms(config: Recipe) -> Any:
  """What a step's time depends on, as JSON returns it."""
  whole = recipe_lib.to_dict(config)
  fields = {name: whole[name] for name in _TIMED}
  fields["patch"] = config.data.patch
  for name in LENGTH:
    group, _, field = name.rpartition(".")
    if group:
      del fields[group][field]
  return json.loads(json.dumps(fields))


def _resize(cell: Cell, ratio: float) -> Cell:
  flat = recipe_lib.flatten(cell.config)
  lengths = {
    name: max(1, round(flat[name] * ratio)) if flat[name] else 0
    for name in LENGTH
  }
  config = recipe_lib.changed(cell.config, lengths)
  return dataclasses.replace(cell, config=config)
