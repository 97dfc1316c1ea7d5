"""Checks that the cells of a study differ only in what they compare."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bamjax.ablation.cell_states import read_object
from bamjax.ablation.cells import Cell
from bamjax.ablation.cells import folders
from bamjax.errors import UserError
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import Recipe

# What tells cells apart; a backbone's options are the same in all its cells.
_COMPARED = ("model", "attn", "seed", "model_options")
# What a budget of seconds changes: the length, and the schedule with it.
LENGTH = ("steps", "optim.decay_every", "optim.warmup_steps")

Configs = dict[Path, Recipe]


def check(study_folder: Path, cells: Sequence[Cell], budget: str) -> None:
  """Compares the cells with each other and with those in the study's folder.

  Steps, data, patch, batch, optimizer, precision and every other field of the
  configuration must agree, apart from model, attention and seed, and from
  where the data is.

  Args:
    study_folder: that of the study.
    cells: the cells that the command names.
    budget: "steps" or "seconds".

  Raises:
    UserError: fields differ; each is named.
  """
  found = read_configs(study_folder)
  for cell in cells:
    if cell.folder in found:
      changed = recipe_lib.differences(found[cell.folder], cell.config)
      if changed:
        raise UserError(
          f"{cell.folder} was begun with another recipe ({'; '.join(changed)});"
          " use the command that began it, or another --output"
        )
  found |= {cell.folder: cell.config for cell in cells}
  length = LENGTH if budget == "seconds" else ()
  _check_groups(found, (), (*_COMPARED, *length))
  _check_groups(found, ("model",), ("attn", "seed", *length))
  _check_groups(found, ("model", "attn"), ("seed",))


def read_configs(study_folder: Path) -> Configs:
  """The configurations of the cells that have begun, by folder.

  Raises:
    UserError: one is damaged.
  """
  found = {}
  for path in folders(study_folder):
    try:
      found[path] = recipe_lib.load(path / recipe_lib.CONFIG)
    except UserError as error:
      raise UserError(
        f"{error}; restore it from a backup, or remove the cell's folder, and"
        " run the command again"
      ) from None
  return found


def _check_groups(
  configs: Configs, by: Sequence[str], left_out: Sequence[str]
) -> None:
  """Raises UserError if cells differ that agree in the fields `by`."""
  first: dict[tuple, Path] = {}
  for path, config in configs.items():
    other = first.setdefault(tuple(getattr(config, name) for name in by), path)
    found = [
      line
      for line in recipe_lib.differences(configs[other], config)
      if not _is_one_of(line.partition(":")[0], left_out)
    ]
    if found:
      raise UserError(
        f"{other.name} and {path.name} are not trained on equal terms"
        f" ({'; '.join(found)}); use another --output for another recipe"
      )


def _is_one_of(field: str, names: Sequence[str]) -> bool:
  """Whether it is one of the fields, or inside one."""
  return any(field == name or field.startswith(f"{name}.") for name in names)


def check_data(cell_folders: Sequence[Path]) -> None:
  """Checks that finished cells were trained and validated on the same images.

  Raises:
    UserError: they were not, or a cell's data.json does not say.
  """
  first: tuple[str, Any] | None = None
  for folder in cell_folders:
    path = folder / recipe_lib.DATA
    data = read_object(path)
    validation = data.get("validation")
    if not isinstance(validation, dict):
      raise UserError(
        f"{path}, which records the cell's images, is missing or damaged:"
        " restore it from a backup, or remove the cell's folder, and run the"
        " command again"
      )
    if data.get("earlier"):
      raise UserError(
        f"{folder} was resumed on other training images than it started with,"
        " by its data.json: a comparison would not be fair. Remove the cell's"
        " folder, and run the command again"
      )
    # Older versions recorded names only.
    trained = data.get("content") or data.get("sha256")
    content = trained, validation.get("sha256")
    first = first or (folder.name, content)
    if content != first[1]:
      raise UserError(
        f"{first[0]} and {folder.name} were not trained and validated on the"
        " same images, by their data.json: a comparison would not be fair."
        " Remove the cells of one of the two, and run the command again"
      )
