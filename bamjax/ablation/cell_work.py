"""The work on one cell: train, score, note what it ran on."""

from collections.abc import Sequence
import dataclasses
import json
from pathlib import Path
import time
from typing import Any

import jax
import ml_collections

from bamjax.ablation.cells import Cell
from bamjax.ablation.cells import Study
from bamjax.ablation.equal_terms import read_object
from bamjax.benchmarking import machine
from bamjax.data.degradation import degrader
from bamjax.data.test_sets import benchmark_name
from bamjax.data.test_sets import find_benchmark
from bamjax.errors import UserError
from bamjax.evaluation import result_files
from bamjax.evaluation import results
from bamjax.evaluation import scoring
from bamjax.evaluation.protocols import PROTOCOLS
from bamjax.files import write_atomically
from bamjax.inference import Upscaler
from bamjax.networks import load_network
from bamjax.runs.checkpoints import steps_on_disk
from bamjax.training import loop

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
    cell.config.to_dict(),
    str(cell.folder),
    [str(folder) for folder in study.benchmarks],
    study.protocol,
    list(study.degradations),
  )


def run(task: Task) -> None:
  """Trains a cell, or resumes it, and scores its best checkpoint.

  Raises:
    UserError: the recipe, the data or the folder is invalid, or an image of a
      benchmark was left out.
    SystemExit: a signal stopped the training, after a checkpoint.
  """
  folder = Path(task.folder)
  config = ml_collections.ConfigDict(task.config)
  notes = dict(read_object(folder / NOTES))
  start = time.monotonic()
  try:
    if not is_trained(folder, config.steps):
      loop.train_and_evaluate(config, folder)
  finally:
    notes["train_seconds"] = _add(notes.get("train_seconds"), start)
    if folder.is_dir():
      _write(folder, {**notes, **_environment(config.dtype)})
  start = time.monotonic()
  missing = unscored(folder, task.benchmarks, task.protocol, task.degradations)
  for benchmark, degradation in missing:
    _score(folder, benchmark, task.protocol, degradation)
  if missing:
    notes["score_seconds"] = _add(notes.get("score_seconds"), start)
    _write(folder, {**notes, **_environment(config.dtype)})


def _add(before: Any, start: float) -> float:
  """Seconds since `start`, and those of earlier attempts."""
  earlier = before if isinstance(before, int | float) else 0.0
  return round(earlier + time.monotonic() - start, 1)


def _write(folder: Path, notes: dict[str, Any]) -> None:
  write_atomically(folder / NOTES, json.dumps(notes, indent=2) + "\n")


def _environment(dtype: str) -> dict[str, Any]:
  """What may change a number beside the recipe."""
  return {
    "device": jax.devices()[0].device_kind,
    "devices": jax.device_count(),
    "precision": machine.precision(dtype),
    "jax": jax.__version__,
  }


def _score(
  folder: Path, benchmark_folder: str, protocol: str, degradation: str
) -> None:
  network = load_network(folder)
  benchmark = find_benchmark(benchmark_folder, network.scale)
  upscaler = Upscaler(network.module, network.variables, shared=True)
  chosen, degrade = PROTOCOLS[protocol], degrader.parse(degradation)
  found = scoring.evaluate(
    upscaler, benchmark.images, network.scale, [chosen], degrade=degrade
  )
  row = results.make_row(
    network,
    benchmark.name,
    chosen,
    found[protocol],
    path=folder.name,
    tile=None,
    folder=benchmark.folder,
    degradation=degrade and degrade.name,
  )
  if row["left_out"]:
    raise UserError(
      f"{benchmark.name}: images can't be used: {', '.join(row['left_out'])};"
      " fix or remove them, so that all cells are scored on the same images"
    )
  result_files.write(folder, [row])


def is_trained(folder: Path, steps: int) -> bool:
  """Whether a run has done its steps and chosen its best checkpoint."""
  return read_object(folder / "summary.json").get("steps") == steps


def unscored(
  folder: Path,
  benchmarks: Sequence[str | Path],
  protocol: str,
  degradations: Sequence[str],
) -> list[tuple[str, str]]:
  """What a cell has no scores of, under today's protocol.

  Returns:
    Folders of benchmarks, each with a degradation.
  """
  done = {
    (row["benchmark"], row.get("degradation"))
    for row in result_files.read(folder)
    if row["protocol"] == protocol
    and row["protocol_version"] == PROTOCOLS[protocol].version
  }
  found = {text: degrader.parse(text) for text in degradations}
  names = {text: each and each.name for text, each in found.items()}
  return [
    (str(path), text)
    for path in benchmarks
    for text in degradations
    if (benchmark_name(path), names[text]) not in done
  ]


def is_finished(study: Study, folder: Path, steps: int) -> bool:
  """Whether nothing is left to do for a cell."""
  return is_trained(folder, steps) and not unscored(
    folder, study.benchmarks, study.protocol, study.degradations
  )


def state(study: Study, cell: Cell) -> str:
  """ "finished", "trained", "at step N" or "new"."""
  if is_trained(cell.folder, cell.config.steps):
    scored = is_finished(study, cell.folder, cell.config.steps)
    return "finished" if scored else "trained"
  steps = steps_on_disk(cell.folder)
  return f"at step {steps[-1]}" if steps else "new"
