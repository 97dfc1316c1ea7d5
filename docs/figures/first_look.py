"""Draws the README's picture: a crop of a photograph, four times.

  python -m docs.figures.first_look

LR is made from scikit-image's photograph of a cat; bicubic and PAN-BAM, which
ships with bamjax, enlarge it twice; HR is the photograph.
"""

from pathlib import Path

import numpy as np
import skimage.data

import bamjax
from bamjax.evaluation.protocols import MATLAB
from bamjax.images import resize
from docs.figures import panels

# Top, left and side of the crop, in HR pixels.
TOP, LEFT, SIDE = 78, 118, 80


def main():
  """Writes the picture beside this script."""
  hr = resize.mod_crop(skimage.data.chelsea(), 2)
  lr = resize.downscale(hr, 2)
  sr = bamjax.Upscaler(*bamjax.load_weights("pan-bam-x2"))(lr)
  row = [("LR", np.repeat(np.repeat(lr, 2, 0), 2, 1))]
  for name, image in (("bicubic", resize.upscale(lr, 2)), ("PAN-BAM", sr)):
    psnr = MATLAB.score(image / np.float32(255), hr, 2)["psnr_y"]
    row.append((f"{name}, {psnr:.2f} dB", image))
  row.append(("HR", hr))
  crop = np.s_[TOP : TOP + SIDE, LEFT : LEFT + SIDE]
  row = [(title, image[crop]) for title, image in row]
  panels.save(Path(__file__).with_suffix(".png"), [row], zoom=3)


if __name__ == "__main__":
  main()
