"""A small study of attentions on a CPU: a cell takes about three minutes.

  bamjax ablate --config=ablation --data_dir=TRAIN --val_dir=VAL \
    --models=pan,imdn,edsr_baseline --attns=native,bam --seeds=0,1,2 \
    --options=pan:blocks=6 --options=imdn:blocks=3 \
    --options=edsr_baseline:blocks=6,features=32 --benchmarks=Set14,BSD100

Folders of HR photographs; LR is made from them by the bicubic of MATLAB.
"""

import dataclasses

from bamjax.runs.recipe import Data
from bamjax.runs.recipe import Optim
from bamjax.runs.recipe import Recipe


def get_config() -> Recipe:
  """Returns the recipe that all cells share."""
  return dataclasses.replace(
    Recipe(),
    scale=2,
    data=Data(
      source="folder",
      patch=32,
    ),
    batch_size=8,
    steps=1_000,
    optim=Optim(
      learning_rate=1e-3,
      schedule="cosine",
      warmup_steps=50,
    ),
    log_every=50,
    eval_every=500,
    checkpoint_every=250,
  )
