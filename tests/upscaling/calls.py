"""Calls of `bamjax upscale`, and an image for them."""

import numpy as np
from PIL import Image

from bamjax.commands import upscale as command

RGB = np.random.default_rng(0).integers(0, 256, (21, 30, 3), dtype=np.uint8)


def upscale(inputs, weights, output, dtype="float32", **options):
  """Upscales; with a dtype that does not depend on the processor."""
  return command.run(
    command.Options(
      images=[str(i) for i in inputs],
      weights=weights,
      output=str(output),
      dtype=dtype,
      **options,
    )
  )


def size(path):
  with Image.open(path) as file:
    return file.size
