"""The weights that ship with bamjax: PAN-BAM, half an hour each on a CPU.

  python train.py --config=configs/pretrained.py --scale=2 \
    --data_dir=TRAIN --val_dir=VAL --run_dir=runs/x2
  python train.py --config=configs/pretrained.py --scale=4 \
    --init_from=runs/x2 --data_dir=TRAIN --val_dir=VAL --run_dir=runs/x4

TRAIN and VAL are folders of HR photographs; LR is made by MATLAB's bicubic.
"""

import ml_collections

from bamjax.runs import defaults


def get_config() -> ml_collections.ConfigDict:
  """Returns the configuration of a run."""
  c = defaults.get_config()

  c.model = "pan"
  c.attn = "bam"
  c.scale = 2
  c.data.source = "folder"
  c.data.patch = 40
  c.batch_size = 8
  c.steps = 6_000
  c.optim.learning_rate = 1.5e-3
  c.optim.schedule = "cosine"
  c.optim.warmup_steps = 100
  c.log_every = 50
  c.eval_every = 1_000
  c.checkpoint_every = 500
  return c
