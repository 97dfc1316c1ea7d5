"""PAN-BAM that learns from SMFANet+, and from HR.

  python train.py --config=configs/distilled.py --scale=4 \
    --teacher=smfanet-x4 --init_from=pan-bam-x4 \
    --data_dir=TRAIN --val_dir=VAL --run_dir=runs/x4

The teacher's outputs are half of the target of a patch with HR, and the target
of every second patch, which is LR without HR (docs/train.md, "A teacher").
TRAIN and VAL are folders of HR photographs. SMFANet+ (Apache-2.0) was trained
on DIV2K and Flickr2K by its authors: say so wherever the weights go.
"""

import dataclasses

from bamjax.runs.recipe import Data
from bamjax.runs.recipe import Optim
from bamjax.runs.recipe import Recipe
from bamjax.runs.recipe import Teacher


def get_config() -> Recipe:
  """Returns the recipe of a run."""
  return dataclasses.replace(
    Recipe(),
    model="pan",
    attn="bam",
    scale=2,
    dtype="bfloat16",
    init_from="pan-bam-x2",
    teacher=Teacher(source="smfanet-x2"),
    data=Data(
      source="folder",
      patch=48,
      lr_only=0.5,
    ),
    batch_size=8,
    steps=2_000,
    optim=Optim(
      learning_rate=4e-4,
      schedule="cosine",
      warmup_steps=100,
      ema_decay=0.999,
    ),
    log_every=100,
    eval_every=1_000,
    checkpoint_every=500,
  )
