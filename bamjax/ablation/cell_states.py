"""How far a cell is, by the files in its folder; what is left as a task."""

from collections.abc import Sequence
import contextlib
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from bamjax.ablation.cells import Cell
from bamjax.ablation.cells import Study
from bamjax.ablation.score_basis import Test
from bamjax.errors import UserError
from bamjax.evaluation import result_files
from bamjax.evaluation.results import Row
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.checkpoints import steps_on_disk

NOTES = "cell.json"


@dataclasses.dataclass(frozen=True)
class Task:
  """What a worker process does, as JSON can carry it.

  Attributes:
    config: the run's configuration, as a dictionary.
    folder: the run's folder.
    benchmarks: folders of test images.
    protocol: name of the evaluation protocol.
    degradations: of the test images' LR.
  """

  config: dict[str, Any]
  folder: str
  benchmarks: list[str]
  protocol: str
  degradations: list[str]


def make_task(study: Study, cell: Cell) -> Task:
  """What a worker does for a cell."""
  return Task(
    recipe_lib.to_dict(cell.config),
    str(cell.folder),
    [str(folder) for folder in study.benchmarks],
    study.protocol,
    list(study.degradations),
  )


def read_object(path: Path) -> dict[str, Any]:
  """A JSON file's object; empty if there is none, or it is damaged."""
  with contextlib.suppress(OSError, ValueError, RecursionError):
    found = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(found, dict):
      return found
  return {}


def positive(value: Any) -> float | None:
  """A number of seconds that was read from a file; None if it is none."""
  number = isinstance(value, int | float) and not isinstance(value, bool)
  return float(value) if number and 0 < value < math.inf else None


def read_rows(folder: Path) -> list[Row]:
  """A cell's scores; none if they are damaged, since they can be repeated."""
  try:
    return result_files.read(folder)
  except UserError:
    return []


def is_trained(folder: Path, steps: int) -> bool:
  """Whether a run has done its steps and chosen its best checkpoint."""
  return read_object(folder / recipe_lib.SUMMARY).get("steps") == steps


def unscored(folder: Path, tests: Sequence[Test]) -> list[Test]:
  """The tests that a cell has no scores of, as they are now."""
  rows = read_rows(folder)
  return [test for test in tests if test.scored_in(rows) is None]


def is_finished(study: Study, folder: Path, steps: int) -> bool:
  """Whether nothing is left to do for a cell."""
  return is_trained(folder, steps) and not unscored(folder, study.tests)


def state(study: Study, cell: Cell) -> str:
  """ "finished", "trained", "at step N" or "new"."""
  if is_trained(cell.folder, cell.config.steps):
    scored = is_finished(study, cell.folder, cell.config.steps)
    return "finished" if scored else "trained"
  steps = steps_on_disk(cell.folder)
  return f"at step {steps[-1]}" if steps else "new"
