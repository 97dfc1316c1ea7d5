"""One call for a whole study: plan, train, score, compare, write."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
from pathlib import Path

from bamjax import files
from bamjax.ablation import cell_costs
from bamjax.ablation import cell_states
from bamjax.ablation import equal_terms
from bamjax.ablation import summary_files
from bamjax.ablation import summary_tables
from bamjax.ablation import time_budget
from bamjax.ablation.cell_queue import CellQueue
from bamjax.ablation.cell_queue import Job
from bamjax.ablation.cells import Cell
from bamjax.ablation.cells import make_cells
from bamjax.ablation.cells import shard
from bamjax.ablation.cells import Study
from bamjax.ablation.summary import summarize
from bamjax.ablation.worker_process import Workers
from bamjax.files import check_writable
from bamjax.runs import experiment
from bamjax.runs.checkpoints import steps_on_disk

Show = Callable[[str], None]


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
  experiment.make_source(cells[0].config)  # invalid data is one error
  costs = cell_costs.costs(cells)  # so is an attention that does not fit
  check_writable(study.folder / f"{summary_files.NAME}.json")
  if study.budget == "seconds":
    machine = workers.machine()
    with _locked(study.folder):
      cells = time_budget.apply(
        cells, study.control, study.folder, workers.step_seconds, machine
      )
  equal_terms.check(study.folder, cells, study.budget)
  left = [
    cell
    for cell in cells
    if cell.name in own and cell_states.state(study, cell) != "finished"
  ]
  _name_outdated(study, left, show)
  if len(left) < len(own):
    show(f"{len(own) - len(left)} of {len(own)} cells are finished")
  jobs = [
    Job(
      cell.name,
      cell_states.make_task(study, cell),
      cell_costs.for_steps(costs[cell.network], cell.config).training_macs
      * _share_left(cell),
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


def _name_outdated(study: Study, cells: Sequence[Cell], show: Show) -> None:
  """Names the cells whose scores are of other images or another protocol."""
  for test in study.tests:
    names = [
      cell.name
      for cell in cells
      if test.outdated_in(cell_states.read_rows(cell.folder))
    ]
    if names:
      show(
        f"{test.label}: the images have changed, or how they are scored; scored"
        f" anew: {', '.join(names)}"
      )


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
