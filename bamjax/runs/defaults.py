"""All fields of a run's configuration, with the paper's recipe as defaults.

Recipes in configs/ start from `get_config()`. On the command line, use
`--config.FIELD=VALUE`, e.g. `--config.optim.learning_rate=2e-4`. Fields that a
run of an older version does not have get these defaults.

"Paper" refers to "Implementation details" in the paper on balanced attention.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  """Returns the default configuration: EDSR with BAM at ×2 on DIV2K."""
  c = ml_collections.ConfigDict()

  # Network.
  c.model = "edsr"  # backbone, one of bamjax.list_models()
  c.attn = "bam"  # attention; "native": the backbone's own, "none": none
  c.scale = 2  # upscaling factor
  # How input is normalized: as in the paper on BAM ("paper") or as in the
  # backbone's official code ("official").
  c.normalization = "paper"
  c.dtype = "float32"  # of computations, or "bfloat16"; parameters are float32
  # The backbone's hyper-parameters that differ from the published network, e.g.
  # c.model_options.blocks = 8.
  c.model_options = ml_collections.ConfigDict()
  # Initial weights: a file, the name of shipped weights, or a run's folder.
  # Every array whose name and shape match is copied. "": random weights.
  c.init_from = ""

  # Data; docs/train.md describes the layouts of folders.
  c.data = ml_collections.ConfigDict()
  # "div2k", "folder" (your images), or "sample" (a few built-in photographs).
  c.data.source = "div2k"
  # For "div2k", the folder that contains DIV2K_train_HR/, or where TensorFlow
  # Datasets keeps its data ("": its default). For "folder", the HR images.
  c.data.data_dir = ""
  # For "folder", HR images to validate on. "": every 20th image of data_dir is
  # held out.
  c.data.val_dir = ""
  c.data.manual_dir = ""  # for "div2k", folder of the downloaded zip files
  c.data.patch = 64  # side of the LR patches in pixels (paper: 64)
  # Where patches are cut: on the host by tf.data ("tfdata"), or on the device,
  # which then holds all images ("resident"). The samples are the same.
  c.data.mode = "tfdata"
  # For "resident", steps per call of the device; 0: 1 on a CPU, else 50.
  c.data.steps_per_dispatch = 0
  # Folder for a file of decoded images, which runs on the same images share.
  # "": they stay in memory if they fit in half of the free memory, else in a
  # file in the run's folder.
  c.data.cache_dir = ""
  # What LR is trained on and validated with: "bicubic" (no degradation),
  # "noise", "jpeg" or "photo"; see docs/train.md.
  c.data.degradation = "bicubic"
  # Its ranges that differ from the defaults (bamjax.data.degradation.mixtures).
  c.data.degradation_options = ml_collections.ConfigDict()
  # Probability that a patch is LR without HR, cut from an image's own pixels at
  # full, half or quarter size, whose target is the teacher's output alone.
  c.data.lr_only = 0.0
  c.data.permute_rgb = False  # augmentation: whether to permute R, G and B
  c.data.max_val_images = 20  # images to validate on during training; 0: all

  # The network of the same scale whose outputs are learned: a file of weights,
  # the name of shipped weights, or a run's folder. "": none.
  c.teacher = ml_collections.ConfigDict()
  c.teacher.source = ""
  c.teacher.weight = 0.5  # of its output as the target; HR has the rest
  # Whether its output is the average over the eight flips and rotations.
  c.teacher.ensemble = False
  # Filled in by a training: SHA-256 of its file, or of a run's weights, and the
  # licence in its card. A teacher whose SHA-256 is another one is refused.
  c.teacher.sha256 = ""
  c.teacher.licence = ""

  # Optimization: Adam on the L1 loss (paper).
  c.seed = 0  # of the initial weights, samples, flips and turns
  c.steps = 250_000  # length of the run
  c.batch_size = 16  # patches per step, over all devices (paper: 16)
  c.optim = ml_collections.ConfigDict()
  c.optim.learning_rate = 1e-4  # initial value, or peak after the warm-up
  c.optim.schedule = "step"  # or "cosine", which decays to 0 at the last step
  c.optim.decay_every = 50_000  # for "step": steps between two decays
  c.optim.decay_factor = 0.5  # for "step": factor of each decay
  c.optim.warmup_steps = 0  # steps of a linear warm-up from 0
  c.optim.clip_norm = 0.0  # maximum global norm of the gradient; 0: no clipping
  # Parts in which each device processes its share of the batch, to save memory.
  c.optim.accumulate = 1
  # Decay of a moving average of the weights, e.g. 0.999, which is then
  # validated and used for inference; 0: no average. The decay grows to it from
  # 0, as (t - 1) / (t + 8) at step t.
  c.optim.ema_decay = 0.0

  # Several devices: "pmap", or "jit" over a sharded batch.
  c.parallel = "pmap"

  # Logs and checkpoints, in steps. Every validation also saves a checkpoint.
  c.log_every = 100
  c.eval_every = 5_000
  c.checkpoint_every = 1_000
  # Number of newest checkpoints to keep, besides the best one by PSNR-Y.
  c.keep_last = 2
  return c
