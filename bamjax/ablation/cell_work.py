"""Work on one cell: train, score, note what it ran on; or time its steps."""

from collections.abc import Callable
from collections.abc import Sequence
import json
from pathlib import Path
import time
from typing import Any

import jax
import numpy as np

from bamjax.ablation import score_basis
from bamjax.ablation.cell_states import is_trained
from bamjax.ablation.cell_states import NOTES
from bamjax.ablation.cell_states import positive
from bamjax.ablation.cell_states import read_object
from bamjax.ablation.cell_states import read_rows
from bamjax.ablation.cell_states import Task
from bamjax.ablation.cell_states import unscored
from bamjax.ablation.score_basis import Test
from bamjax.benchmarking import machine
from bamjax.benchmarking import timing
from bamjax.data.degradation import degrader
from bamjax.data.test_sets import find_benchmark
from bamjax.errors import UserError
from bamjax.evaluation import result_files
from bamjax.evaluation import results
from bamjax.evaluation import scoring
from bamjax.evaluation.protocols import PROTOCOLS
from bamjax.files import write_atomically
from bamjax.inference import Upscaler
from bamjax.layers import compile_for
from bamjax.networks import load_network
from bamjax.runs import experiment
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import Recipe
from bamjax.training import distillation
from bamjax.training import feed
from bamjax.training import loop
from bamjax.training import parallel
from bamjax.training import run_dir

_STEPS, _ROUNDS = 20, 5  # timed, of each network


def run(task: Task) -> None:
  """Trains a cell, or resumes it, and scores its best checkpoint.

  Raises:
    UserError: the recipe, the data or the folder is invalid, or an image of a
      benchmark was left out.
    SystemExit: a signal stopped the training, after a checkpoint.
  """
  folder = Path(task.folder)
  config = recipe_lib.from_dict(task.config)
  notes = dict(read_object(folder / NOTES))
  start = time.monotonic()
  try:
    if not is_trained(folder, config.steps):
      loop.train_and_evaluate(config, folder, same_images=True)
  finally:
    notes["train_seconds"] = _add(notes.get("train_seconds"), start)
    if folder.is_dir():
      _write(folder, {**notes, **_environment(config.dtype)})
  start = time.monotonic()
  tests = score_basis.find(
    task.benchmarks, config.scale, task.protocol, task.degradations
  )
  missing = unscored(folder, tests)
  for test in missing:
    _score(folder, test)
  if missing:
    notes["score_seconds"] = _add(notes.get("score_seconds"), start)
    _write(folder, {**notes, **_environment(config.dtype)})


def _add(before: Any, start: float) -> float:
  """Seconds since `start`, and those of earlier attempts."""
  return round((positive(before) or 0.0) + time.monotonic() - start, 1)


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


def _score(folder: Path, test: Test) -> None:
  network = load_network(folder)
  benchmark = find_benchmark(test.folder, network.scale)
  upscaler = Upscaler(network.module, network.variables, shared=True)
  protocol = PROTOCOLS[test.basis["protocol"]]
  found = scoring.evaluate(
    upscaler,
    benchmark.images,
    network.scale,
    [protocol],
    degrade=degrader.parse(test.degradation),
  )
  named = ("degradation", "content", "degradation_version")
  row = results.make_row(
    network,
    benchmark.name,
    protocol,
    found[protocol.name],
    path=folder.name,
    tile=None,
    folder=benchmark.folder,
    **{name: test.basis[name] for name in named},
  )
  if row["left_out"]:
    raise UserError(
      f"{benchmark.name}: images can't be used: {', '.join(row['left_out'])};"
      " fix or remove them, so that all cells are scored on the same images"
    )
  if not read_rows(folder):  # damaged ones would stay
    (folder / result_files.RESULTS).unlink(missing_ok=True)
  result_files.write(folder, [row])


def step_seconds(configs: Sequence[Recipe]) -> list[float]:
  """Times training steps of configurations on this machine's devices.

  The networks take turns, so that other work on the machine slows all of them.

  Returns:
    For each, the median of the seconds of a step, without its compilation.
  """
  with compile_for("many_runs"):
    runs = {i: _make_run(config) for i, config in enumerate(configs)}
    for run in runs.values():
      run(0)  # compiles
    seconds = timing.take_turns(runs, _STEPS, _ROUNDS, "training steps: ")
  return [float(np.median(np.concatenate(seconds[i]))) for i in runs]


def _make_run(config: Recipe) -> Callable[[int], None]:
  """A function that trains one step and awaits it."""
  config, teacher = distillation.find(config)
  module = experiment.build_model(config)
  step = parallel.parallelize(feed.make_step(config), config.parallel)
  state = run_dir.init_state(config, module).replace(teacher=teacher)
  state = parallel.replicate(state)
  rng = np.random.default_rng(0)
  batch: dict[str, np.ndarray] = {
    name: rng.integers(
      0, 256, (config.batch_size, side, side, 3), dtype=np.uint8
    )
    for name, side in (
      ("lr", config.data.patch),
      ("hr", config.data.patch * config.scale),
    )
  }
  if config.data.lr_only:
    batch["lr_only"] = rng.random(config.batch_size) < config.data.lr_only

  def run(number: int) -> None:
    nonlocal state
    del number
    state = jax.block_until_ready(step(state, batch))

  return run
