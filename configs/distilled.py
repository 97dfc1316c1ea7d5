"""PAN-BAM that learns from SMFANet+, and from HR.

  python train.py --config=configs/distilled.py --scale=4 \
    --teacher=smfanet-x4 --init_from=pan-bam-x4 \
    --data_dir=TRAIN --val_dir=VAL --run_dir=runs/x4

The teacher's outputs are half of the target of a patch with HR, and the target
of every second patch, which is LR without HR (docs/train.md, "A teacher").
TRAIN and VAL are folders of HR photographs. SMFANet+ (Apache-2.0) was trained
on DIV2K and Flickr2K by its authors: say so wherever the weights go.
"""

import ml_collections

from bamjax.runs import defaults


def get_config() -> ml_collections.ConfigDict:
  """Returns the configuration of a run."""
  c = defaults.get_config()

  c.model = "pan"
  c.attn = "bam"
  c.scale = 2
  c.dtype = "bfloat16"
  c.init_from = "pan-bam-x2"
  c.teacher.source = "smfanet-x2"
  c.data.source = "folder"
  c.data.patch = 48
  c.data.lr_only = 0.5
  c.batch_size = 8
  c.steps = 2_000
  c.optim.learning_rate = 4e-4
  c.optim.schedule = "cosine"
  c.optim.warmup_steps = 100
  c.optim.ema_decay = 0.999
  c.log_every = 100
  c.eval_every = 1_000
  c.checkpoint_every = 500
  return c
