import logging

import numpy as np
import pytest
import skimage.data

from bamjax.data.sources import ImagePair
from bamjax.errors import UserError
from bamjax.evaluation import protocols
from bamjax.evaluation import scoring
from bamjax.images import resize

ALL = protocols.find(["matlab", "bam", "ntire"])
SCALE = 2


def image(name, lr=None, rows=64):
  hr = getattr(skimage.data, name)()[:rows, :80]
  return ImagePair(name, lambda: (lr, hr))


class Nearest:
  """Upscales by repetition and counts its calls."""

  def __init__(self):
    self.seen = []

  def __call__(self, lr):
    assert lr.dtype == np.float32 and lr.max() <= 1
    self.seen.append(lr)
    return np.kron(lr, np.ones((SCALE, SCALE, 1), np.float32))


def test_means_are_over_the_images():
  images = [image("chelsea"), image("coffee")]
  found = scoring.evaluate(Nearest(), images, SCALE)["matlab"]
  assert [image["name"] for image in found["images"]] == ["chelsea", "coffee"]
  for key in ("psnr_y", "ssim_y", "bicubic_psnr_y", "bicubic_ssim_y"):
    values = [image[key] for image in found["images"]]
    assert found[key] == pytest.approx(np.mean(values))
  hr = images[0].load()[1]
  lr = resize.downscale(hr, SCALE)
  sr = np.repeat(np.repeat(lr, SCALE, 0), SCALE, 1)
  want = protocols.MATLAB.score(sr, hr, SCALE)
  assert found["images"][0]["psnr_y"] == pytest.approx(want["psnr_y"], rel=1e-6)


def test_protocols_of_the_same_lr_share_a_pass_and_a_saved_image():
  upscale, saved = Nearest(), []
  found = scoring.evaluate(
    upscale,
    [image("chelsea", rows=65)],
    SCALE,
    ALL,
    lambda protocol, name, sr: saved.append((protocol.name, name, sr)),
  )
  assert list(found) == ["matlab", "bam", "ntire"]
  assert len(upscale.seen) == 2
  assert [(p, n) for p, n, _ in saved] == [
    ("matlab", "chelsea"),
    ("bam", "chelsea"),
  ]
  assert saved[0][2].dtype == np.uint8 and saved[0][2].shape == (64, 80, 3)
  assert found["ntire"].keys() == {
    "psnr_rgb",
    "ssim_rgb",
    "bicubic_psnr_rgb",
    "bicubic_ssim_rgb",
    "images",
    "left_out",
  }


def test_the_network_gets_the_lr_file():
  marked = np.full((32, 40, 3), 51, np.uint8)
  upscale = Nearest()
  scoring.evaluate(upscale, [image("chelsea", marked)], SCALE)
  np.testing.assert_allclose(upscale.seen[0], 0.2, rtol=1e-6)


def test_images_without_hr_are_upscaled_and_not_scored():
  lr = skimage.data.chelsea()[:20, :30]
  saved = []
  found = scoring.evaluate(
    Nearest(),
    [ImagePair("real", lambda: (lr, None))],
    SCALE,
    ALL,
    lambda *args: saved.append(args[2].shape),
  )
  assert saved == [(40, 60, 3)] * 2
  assert found["matlab"]["psnr_y"] is None
  assert found["ntire"]["images"] == [
    {
      "name": "real",
      "psnr_rgb": None,
      "ssim_rgb": None,
      "bicubic_psnr_rgb": None,
      "bicubic_ssim_rgb": None,
    }
  ]


def test_unusable_images_are_skipped_with_a_warning(caplog):
  def broken():
    raise UserError("broken.png cannot be read")

  bad = [ImagePair("broken", broken), image("coffee", rows=14)]
  with caplog.at_level(logging.WARNING):
    found = scoring.evaluate(Nearest(), [*bad, image("chelsea")], SCALE)
  assert [image["name"] for image in found["matlab"]["images"]] == ["chelsea"]
  assert "broken.png" in caplog.text
  assert "coffee: too small" in caplog.text
  assert found["matlab"]["left_out"] == ["broken", "coffee"]
  with pytest.raises(UserError, match="none of the images"):
    scoring.evaluate(Nearest(), bad, SCALE)


def test_infinite_psnr_is_left_out_of_the_mean():
  flat = ImagePair("flat", lambda: (None, np.full((64, 80, 3), 90, np.uint8)))
  found = scoring.evaluate(Nearest(), [flat, image("coffee")], SCALE)
  found = found["matlab"]
  flat, coffee = found["images"]
  assert flat["psnr_y"] == np.inf and flat["ssim_y"] > 0.99999
  assert found["psnr_y"] == coffee["psnr_y"]
  assert found["bicubic_psnr_y"] == coffee["bicubic_psnr_y"]
  assert found["ssim_y"] == np.mean([flat["ssim_y"], coffee["ssim_y"]])


def test_images_with_outputs_that_are_not_finite_are_skipped(caplog):
  def upscale(lr):
    return np.nan * Nearest()(lr)

  with pytest.raises(UserError, match="none of the images"):
    scoring.evaluate(upscale, [image("coffee")], SCALE)
  assert "coffee: the network's output is not finite" in caplog.text


def test_a_methods_mean_psnr_is_over_its_own_finite_ones():
  rows = [
    {"psnr_y": 60.0, "ssim_y": 0.9, "bicubic_psnr_y": np.inf},
    {"psnr_y": 30.0, "ssim_y": 0.8, "bicubic_psnr_y": 28.0},
  ]
  want = {"psnr_y": 45.0, "ssim_y": 0.85, "bicubic_psnr_y": 28.0}
  assert scoring.means(rows) == pytest.approx(want)
  assert scoring.means(rows[:1]) == rows[0]
  pairs = [(r["psnr_y"], r["bicubic_psnr_y"]) for r in rows]
  assert scoring.mean_gain(pairs) == 2.0
  assert np.isnan(scoring.mean_gain([*pairs[:1], (None, None)]))


def test_equal_names_get_numbers():
  names = ["a", "b", "a", "a #2", "a"]
  found = scoring.labels([ImagePair(name, None) for name in names])
  assert found == ["a", "b", "a #3", "a #2", "a #4"]


def test_an_image_that_cannot_be_saved_ends_the_evaluation():
  def save(*args):
    raise UserError("the disk is full")

  with pytest.raises(UserError, match="the disk is full"):
    scoring.evaluate(
      Nearest(), [image("chelsea"), image("coffee")], SCALE, save=save
    )
