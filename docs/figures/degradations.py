"""Draws the degradations of a photograph, and what two networks make of them.

  python -m docs.figures.degradations

The photograph is scikit-image's cat. Columns are degradations as `evaluate
--degradation` names them; rows are LR, the shipped PAN-BAM for clean images and
the one for photographs, with their PSNR-Y on the whole photograph.
"""

from pathlib import Path

import numpy as np
import skimage.data

import bamjax
from bamjax.data.degradation import degrader
from bamjax.evaluation.protocols import MATLAB
from bamjax.images import resize
from docs.figures import panels

NAMES = ("bicubic", "noise:15", "jpeg:80", "jpeg:40", "photo:0", "photo:4")
# Top, left and side of the crop, in HR pixels.
TOP, LEFT, SIDE = 78, 118, 80


def main():
  """Writes the picture beside this script."""
  hr = resize.mod_crop(skimage.data.chelsea(), 2)
  clean = resize.downscale(hr, 2)
  networks = {
    title: bamjax.Upscaler(*bamjax.load_weights(name))
    for title, name in (("clean", "pan-bam-x2"), ("photo", "pan-bam-x2-photo"))
  }
  crop = np.s_[TOP : TOP + SIDE, LEFT : LEFT + SIDE]
  rows = [[], *([] for _ in networks)]
  for name in NAMES:
    degrade = degrader.parse(name)
    lr = degrade("chelsea", clean, hr) if degrade else clean
    rows[0].append((name, np.repeat(np.repeat(lr, 2, 0), 2, 1)[crop]))
    for row, (title, upscale) in zip(rows[1:], networks.items(), strict=True):
      sr = upscale(lr)
      psnr = MATLAB.score(sr / np.float32(255), hr, 2)["psnr_y"]
      row.append((f"{title}, {psnr:.2f} dB", sr[crop]))
  panels.save(Path(__file__).with_suffix(".png"), rows, zoom=2)


if __name__ == "__main__":
  main()
