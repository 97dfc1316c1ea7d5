"""The weights that ship with bamjax: PAN-BAM, minutes each on one large GPU.

  python train.py --config=configs/pretrained.py --scale=2 \
    --data_dir=TRAIN --val_dir=VAL --run_dir=runs/x2
  python train.py --config=configs/pretrained.py --scale=4 --steps=3500 \
    --init_from=runs/x2 --config.optim.learning_rate=1.4e-3 \
    --data_dir=TRAIN --val_dir=VAL --run_dir=runs/x4

TRAIN and VAL are folders of HR photographs; LR is made by MATLAB's bicubic.
With 108 photographs, an H200 does 77 steps/s at ×2, and the weights score, on
Set5 (docs/gpu.md), 37.51 dB at ×2, 33.70 at ×3 (5500 steps, also from ×2) and
31.58 at ×4. On two CPU cores, half an hour of --config.dtype=float32
--config.data.patch=40 --batch_size=8 --steps=6000
--config.optim.learning_rate=1.5e-3 gave 37.13 dB.
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
    dtype="bfloat16",
    data=Data(
      source="folder",
      mode="resident",
      patch=64,
    ),
    batch_size=32,
    steps=18_000,
    optim=Optim(
      learning_rate=2e-3,
      schedule="cosine",
      warmup_steps=200,
      ema_decay=0.999,
    ),
    log_every=500,
    eval_every=6_000,
    checkpoint_every=2_000,
  )
