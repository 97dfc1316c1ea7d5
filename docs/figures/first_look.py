"""Draws the README's picture: a crop of a photograph, four times.

  python -m docs.figures.first_look

LR is made from scikit-image's photograph of a cat; bicubic and PAN-BAM, which
ships with bamjax, enlarge it twice; HR is the photograph. Every pixel of HR is
drawn as a square of ZOOM pixels, so that nothing is smoothed twice.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont
import skimage.data

import bamjax
from bamjax.evaluation.protocols import MATLAB
from bamjax.images import resize

OUTPUT = Path(__file__).with_suffix(".png")
# Top, left and side of the crop, in HR pixels.
TOP, LEFT, SIDE = 78, 118, 80
ZOOM, TITLE, GAP = 3, 26, 6


def main():
  """Writes the picture beside this script."""
  hr = resize.mod_crop(skimage.data.chelsea(), 2)
  lr = resize.downscale(hr, 2)
  sr = bamjax.Upscaler(*bamjax.load_weights("pan-bam-x2"))(lr)
  bicubic = resize.upscale(lr, 2)
  panels = {"LR": np.repeat(np.repeat(lr, 2, 0), 2, 1)}
  for name, image in (("bicubic", bicubic), ("PAN-BAM", sr)):
    psnr = MATLAB.score(image / np.float32(255), hr, 2)["psnr_y"]
    panels[f"{name}, {psnr:.2f} dB"] = image
  panels["HR"] = hr
  side = SIDE * ZOOM
  width = len(panels) * (side + GAP) - GAP
  sheet = Image.new("RGB", (width, side + TITLE), "white")
  draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
  for i, (title, image) in enumerate(panels.items()):
    crop = Image.fromarray(image[TOP : TOP + SIDE, LEFT : LEFT + SIDE])
    left = i * (side + GAP)
    sheet.paste(crop.resize((side, side), Image.NEAREST), (left, TITLE))
    draw.text((left, 4), title, "black", font)
  sheet.save(OUTPUT, optimize=True)
  print(f"{OUTPUT}: {OUTPUT.stat().st_size:,} bytes")


if __name__ == "__main__":
  main()
