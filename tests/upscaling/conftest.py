"""Small weights, and a folder of images to upscale."""

import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest

import bamjax
from bamjax.images import image_file
from models import small
from upscaling.calls import RGB


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
  module = bamjax.create_model(
    "pan", "bam", 2, blocks=1, features=8, up_features=8
  )
  variables = small.draw(module, jnp.zeros((1, 8, 8, 3)))
  bamjax.save_weights(path, module, variables)
  return str(path)


@pytest.fixture
def folder(tmp_path):
  """Images of several kinds."""
  folder = tmp_path / "in"
  folder.mkdir()
  rgb = Image.fromarray(RGB)
  rgb.save(folder / "rgb.png")
  rgb.save(folder / "photo.JPG", quality=95)
  rgb.convert("L").save(folder / "gray.png")
  alpha = Image.fromarray(np.tile(np.arange(30, dtype=np.uint8) * 8, (21, 1)))
  rgba = rgb.copy()
  rgba.putalpha(alpha)
  rgba.save(folder / "rgba.webp", lossless=True)
  deep = RGB.astype(np.uint16) * 257
  image_file.write(folder / "deep.png", image_file.ImageData(deep))
  rgb.crop((0, 0, 17, 9)).save(folder / "small.bmp")
  return folder
