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

import dataclasses

from bamjax.runs.recipe import Data
from bamjax.runs.recipe import Optim
from bamjax.runs.recipe import Recipe

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


def get_config() -> Recipe:
  """Returns the recipe of a run."""
  return dataclasses.replace(
    Recipe(),
    model="pan",
    attn="bam",
    scale=2,
    data=Data(
      source="folder",
      patch=40,
      degradation="photo",
      degradation_options={
        "first": _FIRST,
        "second": _SECOND,
        "final_sinc_probability": 0.1,
        # As in a photograph's file, whatever came before.
        "jpeg_last_probability": 1.0,
      },
    ),
    batch_size=8,
    steps=16_000,
    optim=Optim(
      learning_rate=5e-4,
      schedule="cosine",
      warmup_steps=100,
      ema_decay=0.999,
    ),
    log_every=50,
    eval_every=8_000,
    checkpoint_every=500,
  )
