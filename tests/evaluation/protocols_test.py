import numpy as np
from PIL import Image
import pytest
import skimage.data
import skimage.metrics

from bamjax import metrics
from bamjax.data import test_sets
from bamjax.errors import UserError
from bamjax.evaluation import protocols
from bamjax.evaluation import scoring
from bamjax.images import resize
from shared import needs_shared
from shared import SHARED

MATLAB, BAM, NTIRE = protocols.find(["matlab", "bam", "ntire"])
HR = skimage.data.chelsea()[:61, :83]


def test_matlab_crops_hr_and_takes_the_lr_file():
  lr, hr = MATLAB.degradation.pair(HR, None, 3)
  np.testing.assert_array_equal(hr, HR[:60, :81])
  np.testing.assert_array_equal(lr, resize.downscale(HR[:60, :81], 3))
  marked = np.zeros((20, 27, 3), np.uint8)
  assert MATLAB.degradation.pair(HR, marked, 3)[0] is marked


def test_bam_resizes_hr_and_makes_lr_whatever_the_file():
  marked = np.zeros((20, 27, 3), np.uint8)
  lr, hr = BAM.degradation.pair(HR, marked, 3)
  image = Image.fromarray(HR).resize((81, 60), Image.BICUBIC)
  np.testing.assert_array_equal(hr, image)
  np.testing.assert_array_equal(lr, image.resize((27, 20), Image.BICUBIC))
  # A multiple of the scale is not resampled.
  whole = BAM.degradation.pair(HR[:60, :81], None, 3)[1]
  np.testing.assert_array_equal(whole, HR[:60, :81])


def test_bicubic_is_each_protocols_own():
  lr = HR[:20, :27]
  np.testing.assert_array_equal(
    BAM.degradation.upscale(lr, 2),
    Image.fromarray(lr).resize((54, 40), Image.BICUBIC),
  )
  np.testing.assert_array_equal(
    MATLAB.degradation.upscale(lr, 2), resize.upscale(lr, 2)
  )


def noisy():
  noise = np.random.default_rng(0).normal(0, 0.02, HR.shape)
  return np.clip(HR / 255 + noise, 0, 1).astype(np.float32)


def test_matlab_rounds_and_bam_does_not():
  sr = noisy()
  rounded = np.floor(sr * 255 + 0.5).astype(np.uint8)
  assert MATLAB.score(sr, HR, 2) == MATLAB.score(rounded, HR, 2)
  soft, hard = (BAM.score(x, HR, 2)["psnr_y"] for x in (sr, rounded))
  assert abs(soft - hard) > 1e-4


def test_scores_are_of_their_luma_and_border():
  sr = noisy()
  for protocol, weights in (
    (MATLAB, np.array([65.481, 128.553, 24.966]) / 255),
    (BAM, np.array([64.738, 129.057, 25.064]) / 256),
  ):
    a = (np.floor(sr * 255 + 0.5) if protocol is MATLAB else 255 * sr) @ weights
    inner = np.s_[4:-4, 4:-4]
    want = skimage.metrics.peak_signal_noise_ratio(
      (HR @ weights)[inner], a[inner], data_range=255
    )
    assert protocol.score(sr, HR, 4)["psnr_y"] == pytest.approx(want, abs=1e-3)


def test_ntire_is_rgb_with_a_border_of_six_more():
  sr = noisy()
  found = NTIRE.score(sr, HR, 2)
  assert found.keys() == {"psnr_rgb", "ssim_rgb"}
  a, b = np.floor(sr * 255 + 0.5)[8:-8, 8:-8], HR[8:-8, 8:-8].astype(float)
  want = skimage.metrics.peak_signal_noise_ratio(b, a, data_range=255)
  assert found["psnr_rgb"] == pytest.approx(want, abs=1e-3)
  assert found == metrics.image_scores(sr, HR, 8, "rgb")


def test_an_image_that_is_too_small_is_a_user_error():
  small = HR[:14, :30]
  with pytest.raises(UserError, match="too small to be scored: HR is 30×14"):
    MATLAB.score(small, small, 2)


def test_names():
  assert [p.name for p in protocols.find(["bam", "matlab", "bam"])] == [
    "bam",
    "matlab",
  ]
  for names in (["ycbcr"], []):
    with pytest.raises(UserError, match="matlab, bam, ntire"):
      protocols.find(names)


@needs_shared
@pytest.mark.parametrize(
  ("scale", "want"),
  [(2, (33.67, 0.9303)), (3, (30.40, 0.8689)), (4, (28.43, 0.8111))],
)
def test_bicubic_of_set5_in_rgb(scale, want):
  images = test_sets.find_benchmark(SHARED / "benchmarks" / "Set5", scale)

  def upscale(lr):
    return np.zeros((lr.shape[0] * scale, lr.shape[1] * scale, 3), np.float32)

  found = scoring.evaluate(upscale, images.images, scale)["matlab"]
  assert round(found["bicubic_psnr_y"], 2) == want[0]
  assert round(found["bicubic_ssim_y"], 4) == want[1]
