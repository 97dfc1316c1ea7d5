"""PAN-BAM for photographs: noise, blur and JPEG as cameras and the web have.

  python train.py --config=configs/photo.py --scale=2 \
    --init_from=pan-bam-x2 --data_dir=TRAIN --val_dir=VAL --run_dir=runs/photo

The mixture `photo` with milder ranges than the published ones, which are those
of a GAN at ×4: under the L1 loss they teach to smooth whatever comes. JPEG
comes last, as in a file. With --scale=4 --init_from=pan-bam-x4 --steps=2600, it
is the recipe of `pan-bam-x4-photo`; scores are in docs/upscale.md.

Longer training helps with noise and strong compression, and costs elsewhere: on
Set5, 30.01 dB with noise (σ 15) and 34.26 with JPEG of quality 95 after 16,000
steps, 29.75 and 34.77 after 2,600. `pan-bam-x2-photo` is interpolated between
the network that it started from and the one after 16,000 ("network
interpolation", Wang et al. 2019, arXiv:1811.10515): 29.80 and 34.78.

  jax.tree.map(lambda a, b: 0.15 * a + 0.85 * b, clean, photo)
"""

import ml_collections

from bamjax.runs import defaults

_FIRST = {
  "blur_probability": 0.5,
  "sinc_probability": 0.0,
  "blur_sigma": (0.1, 1.0),
  "resize": (0.7, 1.2),
  "resize_probabilities": (0.1, 0.3, 0.6),
  "gaussian_sigma": (0.0, 10.0),
  "poisson_scale": (0.0, 0.8),
  "jpeg_quality": (70, 100),
}
_SECOND = {
  "blur_probability": 0.1,
  "sinc_probability": 0.0,
  "blur_sigma": (0.1, 0.5),
  "resize": (0.8, 1.2),
  "resize_probabilities": (0.1, 0.1, 0.8),
  "gaussian_sigma": (0.0, 4.0),
  "poisson_scale": (0.0, 0.3),
  "jpeg_quality": (35, 100),
}


def get_config() -> ml_collections.ConfigDict:
  """Returns the configuration of a run."""
  c = defaults.get_config()

  c.model = "pan"
  c.attn = "bam"
  c.scale = 2
  c.data.source = "folder"
  c.data.patch = 40
  c.data.degradation = "photo"
  c.data.degradation_options.first = _FIRST
  c.data.degradation_options.second = _SECOND
  c.data.degradation_options.final_sinc_probability = 0.1
  # As in a photograph's file, whatever came before.
  c.data.degradation_options.jpeg_last_probability = 1.0
  c.batch_size = 8
  c.steps = 16_000
  c.optim.learning_rate = 5e-4
  c.optim.schedule = "cosine"
  c.optim.warmup_steps = 100
  c.optim.ema_decay = 0.999
  c.log_every = 50
  c.eval_every = 8_000
  c.checkpoint_every = 500
  return c
