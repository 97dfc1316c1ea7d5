"""One call for a whole study: plan, train, score, compare, write."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
from pathlib import Path
import statistics

from bamjax import files
from bamjax.ablation import cell_work
from bamjax.ablation import equal_terms
from bamjax.ablation import summary_files
from bamjax.ablation import summary_tables
from bamjax.ablation import time_budget
from bamjax.ablation.cell_costs import Cost
from bamjax.ablation.cell_costs import cost
from bamjax.ablation.cell_queue import CellQueue
from bamjax.ablation.cell_queue import Job
from bamjax.ablation.cells import Cell
from bamjax.ablation.cells import make_cells
from bamjax.ablation.cells import shard
from bamjax.ablation.cells import Study
from bamjax.ablation.summary import summarize
from bamjax.ablation.worker_process import Workers
from bamjax.evaluation.tables import Table
from bamjax.files import check_writable
from bamjax.runs import config as config_lib
from bamjax.runs.checkpoints import steps_on_disk
from bamjax.terminal import counted

Show = Callable[[str], None]
Networks = dict[tuple[str, str], Cost]


def run(
  study: Study, workers: Workers, part: str = "", show: Show = print
) -> int:
  """Trains and scores the cells of a study, and writes its comparison.

  Finished cells are skipped and interrupted ones resumed. The comparison
  covers every finished cell in the study's folder.

  Args:
    study: what to compare.
    workers: how to start a worker process.
    part: "i/n" works on every n-th cell from the i-th on; "" on all.
    show: takes each line about the progress, and the tables.

  Returns:
    The exit status: 0, or 1 if a cell failed, which a line has named.

  Raises:
    UserError: the study is invalid, or a folder can't be used.
    SystemExit: a signal stopped the work, after checkpoints.
  """
  cells = make_cells(study)
  own = {cell.name for cell in shard(cells, part)}
  config_lib.make_source(cells[0].config)  # invalid data is one error
  check_writable(study.folder / f"{summary_files.NAME}.json")
  with _locked(study.folder):
    cells = _with_budget(study, cells, workers, keep=True)
  equal_terms.check(study.folder, cells, study.budget)
  left = [
    cell
    for cell in cells
    if cell.name in own and cell_work.state(study, cell) != "finished"
  ]
  costs = _costs(cells)
  if len(left) < len(own):
    show(f"{len(own) - len(left)} of {len(own)} cells are finished")
  jobs = [
    Job(
      cell.name,
      cell_work.make_task(study, cell),
      costs[cell.network].training_macs * _share_left(cell),
    )
    for cell in left
  ]
  slots = workers.slots() if left else []
  queue = CellQueue(jobs, workers, slots, study.folder / "logs", show)
  queue.run()
  _compare(study, cells, show)
  for name, why in queue.failures.items():
    show(f"{name} failed: {why}")
  return 1 if queue.failures else 0


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
  """Keeps other processes from writing the study's own files meanwhile."""
  folder.mkdir(parents=True, exist_ok=True)
  with files.open_lock(folder / ".lock") as lock:
    with contextlib.suppress(OSError):  # a disk without locks
      files.lock(lock, wait=True)
    yield


def _with_budget(
  study: Study, cells: Sequence[Cell], workers: Workers, *, keep: bool
) -> list[Cell]:
  if study.budget == "steps":
    return list(cells)
  measure = workers.step_seconds
  return time_budget.apply(
    cells, study.control, study.folder, measure, keep=keep
  )


def _costs(cells: Sequence[Cell]) -> Networks:
  """The cost of each backbone with each attention."""
  networks = {cell.network: cell.config for cell in cells}
  return {name: cost(config) for name, config in networks.items()}


def _share_left(cell: Cell) -> float:
  """What part of a cell's training is still to be done; a little for scores."""
  done = max(steps_on_disk(cell.folder), default=0)
  return max(1 - done / cell.config.steps, 0.01)


def _compare(study: Study, cells: Sequence[Cell], show: Show) -> None:
  # The last of several shards to finish sees the cells of all.
  with _locked(study.folder):
    summary = summarize(study, cells)
    summary_files.write(summary)
  for table in summary_tables.tables(summary):
    show(table.text() + "\n")
  if not summary.lines:
    show("no cell is finished: there is nothing to compare yet")
  show(f"written to {study.folder}/{summary_files.NAME}.html, .md, .csv, …")


def describe(
  study: Study, workers: Workers, part: str = "", show: Show = print
) -> None:
  """Shows the cells of a study, their cost and an estimate of the time.

  Writes nothing. The time is that of finished cells of the same network, or
  measured with a few training steps.

  Args:
    study: what would be compared.
    workers: how to start a worker process.
    part: as for `run`.
    show: takes the table.

  Raises:
    UserError: the study is invalid, or cells of its folder are of another.
  """
  cells = make_cells(study)
  own = {cell.name for cell in shard(cells, part)}
  cells = _with_budget(study, cells, workers, keep=False)
  equal_terms.check(study.folder, cells, study.budget)
  costs = _costs(cells)
  chosen = [cell for cell in cells if cell.name in own]
  seconds = _training_seconds(cells, chosen, study, workers)
  rows, total = [], 0.0
  for cell in chosen:
    found = costs[cell.network]
    state = cell_work.state(study, cell)
    left = 0.0
    if state not in ("trained", "finished"):
      left = seconds[cell.network] * _share_left(cell)
    total += left
    rows.append(
      [
        cell.name,
        f"{found.parameters:,}",
        f"{found.macs / 1e9:.2f}",
        f"{found.training_macs / 1e12:.3g}",
        f"{cell.config.steps:,}",
        state,
        _duration(left),
      ]
    )
  table = Table(
    f"{counted(len(chosen), 'cell')}, about {_duration(total)} of training"
    " left",
    (
      "cell",
      "parameters",
      "G MACs",
      "T MACs in training",
      "steps",
      "state",
      "time left",
    ),
    rows,
    [
      "G MACs: for one RGB image of 360×240 LR pixels; in training, a step"
      " counts as three passes over its patches",
      "time: one cell after the other, on this machine, without compilation"
      " and scoring",
    ],
  )
  show(table.text())


def _duration(seconds: float) -> str:
  """An estimate in the largest unit of which there are two or more."""
  for unit, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
    if seconds >= 2 * unit:
      return f"{seconds / unit:.0f} {name}"
  return f"{seconds:.0f} s"


def _training_seconds(
  cells: Sequence[Cell],
  chosen: Sequence[Cell],
  study: Study,
  workers: Workers,
) -> dict[tuple[str, str], float]:
  """Seconds of a whole training of each network that is still to be trained."""
  found: dict[tuple[str, str], float] = {}
  missing = {}
  for cell in chosen:
    if cell_work.is_trained(cell.folder, cell.config.steps):
      continue
    seconds = [
      float(notes["train_seconds"])
      for other in cells
      if other.network == cell.network
      and cell_work.is_trained(other.folder, other.config.steps)
      and "train_seconds"
      in (notes := equal_terms.read_object(other.folder / cell_work.NOTES))
    ]
    if seconds:
      found[cell.network] = statistics.median(seconds)
    else:
      missing[cell.network] = cell.config
  if missing:
    measured = workers.step_seconds(list(missing.values()))
    for (name, config), step in zip(missing.items(), measured, strict=True):
      found[name] = step * config.steps
  return found
