"""Lists a study's cells, their cost, and about how long they will take."""

from collections.abc import Callable
from collections.abc import Sequence
import time

from bamjax.ablation import cell_costs
from bamjax.ablation import cell_states
from bamjax.ablation import equal_terms
from bamjax.ablation import time_budget
from bamjax.ablation.cell_costs import Cost
from bamjax.ablation.cells import Cell
from bamjax.ablation.cells import make_cells
from bamjax.ablation.cells import shard
from bamjax.ablation.cells import Study
from bamjax.ablation.time_estimate import Estimator
from bamjax.ablation.time_estimate import Span
from bamjax.evaluation.tables import Table
from bamjax.terminal import counted

# CPU seconds after which a backbone's other attentions are no longer counted.
_COUNTING = 1.5


def describe(
  study: Study, part: str = "", show: Callable[[str], None] = print
) -> None:
  """Shows the cells of a study, their cost and an estimate of the time.

  Trains, measures and writes nothing.

  Args:
    study: what would be compared.
    part: as for `study_run.run`.
    show: takes the table.

  Raises:
    UserError: the study is invalid, or cells of its folder are of another.
  """
  cells = make_cells(study)
  own = {cell.name for cell in shard(cells, part)}
  known = {cell.network: 1.0 for cell in cells}
  if study.budget == "seconds":
    known = time_budget.ratios(cells, study.control, study.folder, None)
    cells = time_budget.resized(cells, known)
  equal_terms.check(study.folder, cells, study.budget)
  costs, guessed = _costs(cells, study.control)
  estimator = Estimator(study, cells, costs)
  rows, total = [], Span(0, 0)
  for cell in cells:
    if cell.name not in own:
      continue
    found = costs[cell.network]
    state = cell_states.state(study, cell)
    left = estimator.left(cell, state)
    total = Span(total.low + left.low, total.high + left.high)
    about = "~" if cell.network in guessed else ""
    rows.append(
      [
        cell.name,
        f"{about}{found.parameters:,}",
        f"{about}{found.macs / 1e9:.2f}",
        f"{about}{found.training_macs / 1e12:.3g}",
        f"{cell.config.steps:,}" if cell.network in known else "by time",
        state,
        left.text(),
      ]
    )
  notes = [
    "G MACs: for one RGB image of 360×240 LR pixels; in training, a step"
    " counts as three passes over its patches",
    f"{estimator.how()}; one cell after the other, on this machine",
  ]
  if guessed:
    notes.append("~: as the control's, to be quick")
  if len(known) < len(costs):
    notes.append(
      "by time: as many steps as take the control's time, measured when the"
      " study starts"
    )
  table = Table(
    f"{counted(len(rows), 'cell')}, {total.text()} left",
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
    notes,
  )
  show(table.text())


def _costs(
  cells: Sequence[Cell], control: str
) -> tuple[dict[tuple[str, str], Cost], set[tuple[str, str]]]:
  """Counts networks until it takes long; the others cost what the control does.

  Returns:
    The costs, and the networks whose costs are their control's.
  """
  found: dict[tuple[str, str], Cost] = {}
  guessed = set()
  end = time.process_time() + _COUNTING
  for cell in sorted(cells, key=lambda cell: cell.config.attn != control):
    base = found.get((cell.config.model, control))
    if cell.network in found:
      continue
    if base is None or time.process_time() < end:
      found[cell.network] = cell_costs.checked(cell)
    else:
      found[cell.network] = base
      guessed.add(cell.network)
  return found, guessed
