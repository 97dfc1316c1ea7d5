"""A small network on photographs that pip installs, in minutes on a CPU.

  python train.py --config=configs/quickstart.py

Trains PAN-BAM ×2 on the photographs in scikit-image's wheel and validates on
two others (astronaut, chelsea). `bamjax train --config=quickstart` is the same.
"""

import ml_collections

from bamjax.runs import defaults


def get_config() -> ml_collections.ConfigDict:
  """Returns the configuration of a run."""
  c = defaults.get_config()

  c.model = "pan"
  c.attn = "bam"
  c.scale = 2
  c.data.source = "sample"
  c.data.patch = 32
  c.batch_size = 8
  c.steps = 300
  c.optim.learning_rate = 1e-3
  c.optim.schedule = "cosine"
  c.log_every = 50
  c.eval_every = 100
  c.checkpoint_every = 100
  return c
