"""Equal seconds: how many steps each network trains for.

The control trains for the recipe's steps, and every other network of the same
backbone for as many steps as take the same time on this machine. The schedule
is stretched with the steps. The step times are kept in budget.json, so that
resumed and sharded studies use the same numbers.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import json
from pathlib import Path

import ml_collections

from bamjax.ablation.cells import Cell
from bamjax.ablation.equal_terms import LENGTH
from bamjax.ablation.equal_terms import read_object
from bamjax.files import write_atomically

BUDGET = "budget.json"

Measure = Callable[[Sequence[ml_collections.ConfigDict]], list[float]]


def apply(
  cells: Sequence[Cell],
  control: str,
  study_folder: Path,
  measure: Measure,
  *,
  keep: bool = True,
) -> list[Cell]:
  """Gives each cell its number of steps.

  Args:
    cells: with the control's steps.
    control: the attention whose time all cells of a backbone get.
    study_folder: where budget.json is, or will be.
    measure: returns the seconds of a training step of each configuration.
    keep: whether to write budget.json.
  """
  path = study_folder / BUDGET
  known = {
    name: float(seconds)
    for name, seconds in read_object(path).get("step_seconds", {}).items()
  }
  configs = {_name(*cell.network): cell.config for cell in cells}
  missing = [name for name in configs if name not in known]
  if missing:
    found = measure([configs[name] for name in missing])
    known |= dict(zip(missing, found, strict=True))
    if keep:
      text = json.dumps({"step_seconds": known}, indent=2)
      write_atomically(path, text + "\n")
  return [_resize(cell, known, control) for cell in cells]


def _name(model: str, attn: str) -> str:
  return f"{model} {attn}"


def _resize(cell: Cell, seconds: dict[str, float], control: str) -> Cell:
  model, attn = cell.network
  ratio = seconds[_name(model, control)] / seconds[_name(model, attn)]
  config = ml_collections.ConfigDict(cell.config.to_dict())
  flat = {name: _scaled(config, name, ratio) for name in LENGTH}
  config.update_from_flattened_dict(flat)
  return dataclasses.replace(cell, config=config)


def _scaled(config: ml_collections.ConfigDict, name: str, ratio: float) -> int:
  *group, field = name.split(".")
  value = (config[group[0]] if group else config)[field]
  return max(1, round(value * ratio)) if value else 0
