"""What a cell costs: parameters, multiply-accumulates, training steps."""

from collections.abc import Sequence
import dataclasses

from bamjax import complexity
from bamjax.ablation.cells import Cell
from bamjax.errors import UserError
from bamjax.runs import experiment
from bamjax.runs.recipe import Recipe

# The LR image that multiply-accumulates are stated for, as in the paper.
HEIGHT, WIDTH = 240, 360
# Passes that a training step is counted as: the gradient costs about two.
_STEP = 3


@dataclasses.dataclass(frozen=True)
class Cost:
  """What a network costs.

  Attributes:
    parameters: as the BAM paper's Table 1 counts them.
    macs: multiply-accumulates for one RGB image of 360×240 LR pixels.
    training_macs: multiply-accumulates of the whole training, counted as three
      passes a step.
  """

  parameters: int
  macs: int
  training_macs: int


def cost(config: Recipe) -> Cost:
  """Counts what a configuration costs; runs nothing."""
  module = experiment.build_model(config)
  found = complexity.summary(module, HEIGHT, WIDTH)
  return for_steps(Cost(found["parameters"], found["macs"], 0), config)


def for_steps(found: Cost, config: Recipe) -> Cost:
  """The cost of a network when a configuration trains it."""
  # All layers work on whole maps: the count grows with the area.
  share = config.data.patch**2 / (HEIGHT * WIDTH)
  passes = _STEP * config.batch_size * config.steps
  return dataclasses.replace(
    found, training_macs=round(found.macs * share * passes)
  )


def costs(cells: Sequence[Cell]) -> dict[tuple[str, str], Cost]:
  """The cost of each backbone with each attention.

  Raises:
    UserError: an attention does not fit a backbone's channels; the cell is
      named.
  """
  found: dict[tuple[str, str], Cost] = {}
  for cell in cells:
    if cell.network not in found:
      found[cell.network] = checked(cell)
  return found


def checked(cell: Cell) -> Cost:
  """The cost of a cell.

  Raises:
    UserError: its network cannot be built; the cell is named.
  """
  try:
    return cost(cell.config)
  except ValueError as error:  # raised by a layer with invalid sizes
    raise UserError(
      f"{cell.name} cannot be trained: {error}; change --options, or leave"
      f" {cell.config.attn} out of --attns"
    ) from error
