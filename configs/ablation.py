"""A small study of attentions on a CPU: a cell takes about three minutes.

  bamjax ablate --config=ablation --data_dir=TRAIN --val_dir=VAL \
    --models=pan,imdn,edsr_baseline --attns=native,bam --seeds=0,1,2 \
    --options=pan:blocks=6 --options=imdn:blocks=3 \
    --options=edsr_baseline:blocks=6,features=32 --benchmarks=Set14,BSD100

Folders of HR photographs; LR is made from them by the bicubic of MATLAB.
"""

import ml_collections

from bamjax.runs import defaults


def get_config() -> ml_collections.ConfigDict:
  """Returns the recipe that all cells share."""
  c = defaults.get_config()

  c.scale = 2
  c.data.source = "folder"
  c.data.patch = 32
  c.batch_size = 8
  c.steps = 1_000
  c.optim.learning_rate = 1e-3
  c.optim.schedule = "cosine"
  c.optim.warmup_steps = 50
  c.log_every = 50
  c.eval_every = 500
  c.checkpoint_every = 250
  return c
