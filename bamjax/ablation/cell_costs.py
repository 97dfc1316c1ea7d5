"""What a cell costs: parameters, multiply-accumulates, training steps."""

import dataclasses

import ml_collections

from bamjax import complexity
from bamjax.runs import config as config_lib

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


def cost(config: ml_collections.ConfigDict) -> Cost:
  """Counts what a configuration costs; runs nothing."""
  module = config_lib.build_model(config)
  found = complexity.summary(module, HEIGHT, WIDTH)
  # All layers work on whole maps: the count grows with the area.
  share = config.data.patch**2 / (HEIGHT * WIDTH)
  passes = _STEP * config.batch_size * config.steps
  return Cost(
    found["parameters"], found["macs"], round(found["macs"] * share * passes)
  )
