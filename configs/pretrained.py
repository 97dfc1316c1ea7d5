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

import ml_collections

from bamjax.runs import defaults


def get_config() -> ml_collections.ConfigDict:
  """Returns the configuration of a run."""
  c = defaults.get_config()

  c.model = "pan"
  c.attn = "bam"
  c.scale = 2
  c.dtype = "bfloat16"
  c.data.source = "folder"
  c.data.mode = "resident"
  c.data.patch = 64
  c.batch_size = 32
  c.steps = 18_000
  c.optim.learning_rate = 2e-3
  c.optim.schedule = "cosine"
  c.optim.warmup_steps = 200
  c.optim.ema_decay = 0.999
  c.log_every = 500
  c.eval_every = 6_000
  c.checkpoint_every = 2_000
  return c
