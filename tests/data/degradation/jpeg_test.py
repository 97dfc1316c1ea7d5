import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
from PIL import features
from PIL import Image
import pytest
import skimage.data

from bamjax.data.degradation import jpeg
from bamjax.errors import UserError

# No multiples of 16, so that padding shows.
HEIGHT, WIDTH = 231, 315
QUALITIES = (1, 30, 40, 50, 60, 75, 80, 95, 100)


def pillow(image, quality, subsampling):
  file = io.BytesIO()
  Image.fromarray(image).save(
    file, "JPEG", quality=quality, subsampling=subsampling
  )
  return np.asarray(Image.open(file))


def planes(image):
  return np.moveaxis(image, -1, -3).astype(np.float32) / 255


def levels(planes):
  return np.rint(255 * np.moveaxis(np.asarray(planes), -3, -1)).astype(int)


def difference(a, b):
  """Bits are equal with libjpeg-turbo; other decoders may round differently."""
  found = np.abs(a - b.astype(int))
  if features.check("libjpeg_turbo"):
    assert not found.any(), f"{np.mean(found)}, at most {found.max()}"
  return found.mean()


@pytest.mark.parametrize("subsampling", jpeg.SUBSAMPLINGS)
def test_photographs_are_pillows(subsampling):
  names = ("astronaut", "chelsea", "coffee")
  images = [getattr(skimage.data, name)() for name in names]
  images = np.stack([image[40:][:HEIGHT, 90:][:, :WIDTH] for image in images])
  code = functools.partial(jpeg.jpeg, subsampling=subsampling)
  code = jax.jit(jax.vmap(code, (0, None)))
  for quality in QUALITIES:
    coded = levels(code(planes(images), jnp.int32(quality)))
    for image, ours in zip(images, coded, strict=True):
      assert difference(ours, pillow(image, quality, subsampling)) <= 0.7


def test_a_patch_may_begin_within_a_block():
  patch = skimage.data.astronaut()[:40, 200:248]
  padded = np.pad(patch, ((3, 12), (14, 1), (0, 0)), "symmetric")
  found = jax.jit(jpeg.jpeg_at)(planes(patch), 50, jnp.array([3, 14 + 16]))
  wanted = pillow(padded, 50, "4:2:0")[3:43, 14:62]
  assert difference(levels(found), wanted) <= 0.7


@pytest.mark.parametrize("quality", [1, 49, 50, 75, 100])
def test_tables_are_pillows(quality):
  file = io.BytesIO()
  Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
  wanted = Image.open(file).quantization
  tables = np.asarray(jpeg.quantization_tables(quality)).reshape(2, 64)
  assert tables.tolist() == [list(wanted[0]), list(wanted[1])]


@pytest.mark.parametrize(
  "shape, quality, subsampling, message",
  [
    ((3, 16, 16), 0, "4:2:0", "quality must be 1 to 100, not 0"),
    ((3, 16, 16), 101, "4:2:0", "quality must be 1 to 100, not 101"),
    ((3, 16, 16), 50, "4:1:1", "unknown chroma subsampling"),
    ((3, 16, 7), 50, "4:2:0", "7×16 is too small for JPEG"),
  ],
)
def test_mistakes(shape, quality, subsampling, message):
  with pytest.raises(UserError, match=message):
    jpeg.jpeg(np.zeros(shape, np.float32), quality, subsampling)
