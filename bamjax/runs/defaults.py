"""Every field of a run's configuration, and its default: the paper's recipe.

They stand in the library so that a run can be read without configs/, and one
that an older version wrote gets the fields that it lacks.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  """Returns the paper's recipe, every knob once."""
  c = ml_collections.ConfigDict()

  # The network: see bamjax.create_model.
  c.model = "edsr"
  c.attn = "bam"
  c.scale = 2
  c.normalization = "paper"
  c.dtype = "float32"  # of the computation; parameters are float32
  c.model_options = ml_collections.ConfigDict()  # e.g. .blocks, .features

  c.init_from = ""  # weights or a run to start from: what fits is taken

  # Data: "div2k", "folder" or "sample"; see the README for the layouts.
  c.data = ml_collections.ConfigDict()
  c.data.source = "div2k"
  c.data.data_dir = ""
  c.data.val_dir = ""  # folder only; empty: some of data_dir is held out
  c.data.manual_dir = ""  # div2k only: a folder of zips already downloaded
  c.data.patch = 64  # side of the LR patches
  # "tfdata" cuts patches on the host; "resident" keeps the images on the
  # device and cuts them there: the same samples, and no work for the host.
  c.data.mode = "tfdata"
  c.data.steps_per_dispatch = 0  # resident only; 0: 1 on a CPU, else 50
  # Decoded images stay in memory where they fit, else in a file beside the
  # run. A folder here keeps them in a file there, which runs share.
  c.data.cache_dir = ""
  c.data.max_val_images = 20  # validated on during training; 0: all

  # Optimisation.
  c.seed = 0
  c.steps = 250_000
  c.batch_size = 16  # over all devices
  c.optim = ml_collections.ConfigDict()
  c.optim.learning_rate = 1e-4
  c.optim.schedule = "step"  # or "cosine", to 0 at the last step
  c.optim.decay_every = 50_000  # steps
  c.optim.decay_factor = 0.5
  c.optim.warmup_steps = 0  # linear, from 0
  c.optim.clip_norm = 0.0  # largest global norm of the gradient; 0: any
  c.optim.accumulate = 1  # parts that a device does its batch in
  c.optim.ema_decay = 0.0  # of a moving average of the weights; 0: none

  # Many devices: "pmap", or "jit" over a sharded batch.
  c.parallel = "pmap"

  # Bookkeeping, in steps. A validation is also a checkpoint.
  c.log_every = 100
  c.eval_every = 5_000
  c.checkpoint_every = 1_000
  c.keep_last = 2  # checkpoints, beside the best by PSNR-Y
  return c
