import functools
import io
import zlib

import jax
import numpy as np
from PIL import Image
import pytest
import skimage.data

from bamjax.data.degradation import degrader
from bamjax.data.degradation import mixtures
from bamjax.data.degradation.degrade import degrade as degrade_lib
from bamjax.data.degradation.degrade import sample_keys
from bamjax.errors import UserError
from bamjax.images import resize

# No multiple of JPEG's blocks.
HR = skimage.data.chelsea()[40:120, 100:210]
LR = resize.downscale(HR, 2)


@pytest.mark.parametrize("quality", [40, 90])
def test_jpeg_is_pillows(quality):
  degrade = degrader.parse(f"jpeg:{quality}")
  assert degrade.name == f"jpeg:{quality}"
  file = io.BytesIO()
  Image.fromarray(LR).save(file, "JPEG", quality=quality)
  found = degrade("a", LR, HR)
  assert found.dtype == np.uint8
  np.testing.assert_array_equal(found, np.asarray(Image.open(file)))


# Odd and even sides, at and next to the ends of blocks of 8 and 16.
SIDES = [(74, 110), (79, 97), (33, 48), (48, 33), (17, 16), (12, 31), (65, 10)]


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_images_of_several_sizes_share_a_program_of_jpeg(subsampling):
  mixture = mixtures.Jpeg(quality=(35, 35), subsampling=subsampling)
  degrade = degrader.Degrader("shared", mixture)
  degrader._run.clear_cache()  # others may push programs out of it
  for height, width in SIDES:
    image = HR[:height, :width]
    file = io.BytesIO()
    kind = {"4:2:0": 2, "4:4:4": 0}[subsampling]
    Image.fromarray(image).save(file, "JPEG", quality=35, subsampling=kind)
    found = degrade("a", image, image)
    np.testing.assert_array_equal(found, np.asarray(Image.open(file)))
  assert degrader._run._cache_size() == 1


@pytest.mark.parametrize("gray", [0.0, 1.0])
def test_images_of_several_sizes_share_a_program_of_noise(gray):
  mixture = mixtures.Noise(sigma=(15, 15), gray_probability=gray)
  degrade = degrader.Degrader("shared", mixture)
  degrader._run.clear_cache()  # others may push programs out of it
  for height, width in SIDES[:3]:
    image = HR[:height, :width]
    # The bits that an array of just this size gets, as in older versions.
    found, expected = (
      degrade("a", image, image),
      alone(degrade, "a", image, image),
    )
    np.testing.assert_array_equal(found, expected)
  assert degrader._run._cache_size() == 1


def test_small_images_are_too_small_within_any_array():
  with pytest.raises(UserError, match="7×9 is too small for JPEG"):
    degrader.parse("jpeg:40")("a", HR[:9, :7], HR[:18, :14])


def test_noise_has_its_sigma_and_depends_on_the_name_alone():
  gray = np.full((90, 80, 3), 128, np.uint8)
  degrade = degrader.parse("noise:15")
  found = degrade("a", gray, gray)
  error = found.astype(int) - 128
  assert abs(error.std() - 15) < 0.3 and abs(error.mean()) < 0.5
  np.testing.assert_array_equal(degrade("a", gray, gray), found)
  assert (degrade("b", gray, gray) != found).any()


def test_photo_differs_by_seed():
  zero, one = (degrader.parse(f"photo:{seed}")("a", LR, HR) for seed in (0, 1))
  assert zero.shape == LR.shape
  assert (zero != LR).any() and (zero != one).any()


def test_photo_shares_its_program_among_sizes():
  # Without noise, which is drawn for a whole array, and with JPEG of the best
  # quality, as its last blocks hold other pixels beyond the image.
  ranges = {
    "gaussian_sigma": (0, 0),
    "poisson_scale": (0, 0),
    "jpeg_quality": (100, 100),
  }
  mixture = mixtures.named("photo", {"first": ranges, "second": ranges})
  degrade = degrader.Degrader("quiet", mixture)
  degrader._run.clear_cache()  # others may push programs out of it
  degrade("a", LR, HR)
  lr, hr = LR[:33, :48], HR[:66, :96]
  found, expected = degrade("c", lr, hr), alone(degrade, "c", lr, hr)
  assert degrader._run._cache_size() == 1
  assert found.shape == lr.shape
  difference = np.abs(found.astype(int) - expected)
  assert difference[:-16, :-16].mean() < 0.01
  assert difference.mean() < 0.2


def alone(degrade, name, lr, hr):
  """A degraded image in an array of its own size."""
  key = sample_keys(degrade.seed, 0, 1)[0]
  key = jax.random.fold_in(key, np.uint32(zlib.crc32(name.encode())))
  # Compiled as a whole: its operations one by one take a minute.
  compiled = jax.jit(functools.partial(degrade_lib, mixture=degrade.mixture))
  found = compiled(lr[None], hr[None], key[None])
  return np.asarray(found[0])


def test_bicubic_is_no_degradation():
  assert degrader.parse("bicubic") is None
  assert degrader.of_mixture("bicubic", mixtures.Bicubic()) is None


def test_validation_has_blocks_where_cameras_have_them():
  found = degrader.of_mixture("jpeg", mixtures.named("jpeg"))
  assert not found.mixture.random_grid


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("noise", "unknown degradation 'noise'"),
    ("noise:", "SIGMA"),
    ("noise:nan", "is no range"),
    ("noise:-1", "must be at least 0"),
    ("jpeg:0", "must be at least 1"),
    ("jpeg:101", "at most 100"),
    ("jpeg:50.5", "unknown degradation"),
    ("photo:-1", "the seed must be"),
    ("blur:3", "unknown degradation 'blur:3'"),
  ],
)
def test_mistakes(text, message):
  with pytest.raises(UserError, match=message) as caught:
    degrader.parse(text)
  assert "\n" not in str(caught.value)
