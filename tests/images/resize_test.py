import numpy as np
from PIL import Image
import pytest
import skimage.data

from bamjax.images import resize
from bamjax.images import rgb
from shared import needs_shared
from shared import SHARED


@needs_shared
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_reproduces_every_pixel_of_matlabs_set5(scale):
  folder = SHARED / "benchmarks" / "Set5"
  paths = rgb.list_images(folder / "HR")
  assert len(paths) == 5
  for path in paths:
    hr = resize.mod_crop(rgb.read_rgb(path), scale)
    lr = rgb.read_rgb(
      folder / "LR_bicubic" / f"X{scale}" / f"{path.stem}x{scale}.png"
    )
    assert np.count_nonzero(resize.downscale(hr, scale) != lr) == 0


def test_halving_a_row_by_hand():
  # Cubic a = −0.5 at ±¼, ±¾, ±1¼, ±1¾ of a pixel stretched by 2, normalised.
  kernel = np.array([-3, -9, 29, 111, 111, 29, -9, -3]) / 256
  row = np.arange(0, 160, 10)
  image = np.repeat(row[None, :, None], 2, axis=0).astype(np.uint8)
  padded = np.concatenate([row[:3][::-1], row, row[-3:][::-1]])
  expected = [
    np.floor(np.clip(kernel @ padded[i : i + 8], 0, 255) + 0.5)
    for i in range(0, 16, 2)
  ]
  np.testing.assert_array_equal(
    resize.downscale(image, 2)[0, :, 0], np.array(expected)
  )


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_constant_stays_and_shapes_fit(scale):
  image = np.full((12 * scale, 7 * scale, 3), 77, np.uint8)
  assert (resize.downscale(image, scale) == np.full((12, 7, 3), 77)).all()
  large = resize.upscale(image, scale)
  assert large.shape == (12 * scale**2, 7 * scale**2, 3)
  assert (large == 77).all()


def test_upscaling_interpolates_without_antialiasing():
  # Weights of the cubic at ¼ and ¾ from a step edge.
  row = np.array([0, 0, 0, 0, 200, 200, 200, 200])
  image = np.repeat(row[None, :, None], 2, axis=0).astype(np.uint8)
  # Keys' kernel at 1¾, ¾, ¼, 1¼ pixels is (−3, 29, 111, −9)/128.
  edge = [200 * (-3) / 128, 200 * (-9) / 128, 200 * (29 - 3) / 128]
  edge += [200 - v for v in edge[::-1]]
  expected = np.floor(np.clip(edge, 0, 255) + 0.5)
  np.testing.assert_array_equal(resize.upscale(image, 2)[0, 5:11, 0], expected)


def test_pillow_bicubic_is_pillows():
  image = skimage.data.chelsea()
  expected = Image.fromarray(image).resize((100, 60), Image.BICUBIC)
  np.testing.assert_array_equal(
    resize.pillow_bicubic(image, 60, 100), np.asarray(expected)
  )


def test_mod_crop_keeps_the_top_left():
  image = np.arange(7 * 8).reshape(7, 8)
  np.testing.assert_array_equal(resize.mod_crop(image, 3), image[:6, :6])


def test_floating_images_are_not_rounded():
  image = skimage.data.chelsea()[:60, :80]
  small = resize.downscale(image.astype(np.float32), 2)
  assert small.dtype == np.float32
  assert (small % 1 != 0).mean() > 0.9
  # Two roundings, each of half a level, spread by the filter's negative lobes.
  assert np.abs(small - resize.downscale(image, 2)).max() < 1.2
  # Nothing is clipped: the cubic overshoots beside an edge.
  edge = np.repeat([[0.0] * 8 + [1.0] * 8], 4, axis=0)
  large = resize.upscale(edge, 2)
  assert large.shape == (8, 32)
  assert large.min() < 0 and large.max() > 1


def test_other_types_are_refused():
  with pytest.raises(TypeError, match="int64"):
    resize.downscale(np.zeros((4, 4, 3), np.int64), 2)
