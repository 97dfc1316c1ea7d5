"""A small network on photographs that pip installs, in minutes on a CPU.

  python train.py --config=configs/quickstart.py

Trains PAN-BAM ×2 on the photographs in scikit-image's wheel and validates on
two others (astronaut, chelsea). `bamjax train --config=quickstart` is the same.
"""

import dataclasses

from bamjax.runs.recipe import Data
from bamjax.runs.recipe import Optim
from bamjax.runs.recipe import Recipe


def get_config() -> Recipe:
  """Returns the recipe of a run."""
  return dataclasses.replace(
    Recipe(),
    model="pan",
    attn="bam",
    scale=2,
    data=Data(
      source="sample",
      patch=32,
    ),
    batch_size=8,
    steps=300,
    optim=Optim(
      learning_rate=1e-3,
      schedule="cosine",
    ),
    log_every=50,
    eval_every=100,
    checkpoint_every=100,
  )
