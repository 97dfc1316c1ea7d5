import contextlib
import logging

import jax
import numpy as np
import pytest
import skimage.color
import skimage.data
import skimage.metrics

from bamjax import metrics
from bamjax.images import resize
from bamjax.images import rgb
from shared import needs_shared
from shared import SHARED


def noisy(name, amplitude=12, seed=0):
  hr = getattr(skimage.data, name)()
  noise = np.random.default_rng(seed).normal(0, amplitude, hr.shape)
  return np.clip(hr + noise, 0, 255).round().astype(np.uint8), hr


def unit(image):
  return image[None] / np.float32(255)


def skimage_luma(image):
  return skimage.color.rgb2ycbcr(image)[..., 0]


def skimage_scores(a, b):
  psnr = skimage.metrics.peak_signal_noise_ratio(b, a, data_range=255)
  ssim = skimage.metrics.structural_similarity(
    b,
    a,
    data_range=255,
    gaussian_weights=True,
    sigma=1.5,
    use_sample_covariance=False,
    win_size=11,
  )
  return psnr, ssim


def test_luma_of_known_colours():
  colours = np.array([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
  expected = [16, 235, 81.481, 144.553, 40.966]
  np.testing.assert_allclose(metrics.luma(colours), expected, rtol=1e-6)


def test_the_bam_luma_has_the_released_mistake():
  # 16 + (64.738·255 + 129.057·255 + 25.064·255) / 256, by hand.
  white = metrics.luma(np.ones((1, 3)), "bam")
  np.testing.assert_allclose(white, 16 + 218.859 * 255 / 256, rtol=1e-6)


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
@pytest.mark.parametrize("border", [2, 4])
@pytest.mark.parametrize("amplitude", [1, 12])
def test_equals_scikit_image_on_real_images(name, border, amplitude):
  sr, hr = noisy(name, amplitude)
  inner = slice(border, -border)
  a, b = (skimage_luma(x)[inner, inner] for x in (sr, hr))
  psnr, ssim = skimage_scores(a, b)
  found = metrics.scores(unit(sr), unit(hr), border)
  assert float(found["psnr_y"][0]) == pytest.approx(psnr, abs=1e-3)
  assert float(found["ssim_y"][0]) == pytest.approx(ssim, abs=1e-5)


@needs_shared
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_equals_scikit_image_on_set5(scale):
  folder = SHARED / "benchmarks" / "Set5"
  inner = slice(scale, -scale)
  for path in rgb.list_images(folder / "HR"):
    hr = resize.mod_crop(rgb.read_rgb(path), scale)
    lr = folder / "LR_bicubic" / f"X{scale}" / f"{path.stem}x{scale}.png"
    sr = resize.upscale(rgb.read_rgb(lr), scale)
    found = metrics.scores(unit(sr), unit(hr), scale)
    psnr, ssim = skimage_scores(
      *(skimage_luma(x)[inner, inner] for x in (sr, hr))
    )
    assert float(found["psnr_y"][0]) == pytest.approx(psnr, abs=1e-3)
    assert float(found["ssim_y"][0]) == pytest.approx(ssim, abs=1e-5)


@needs_shared
@pytest.mark.parametrize(
  ("scale", "psnr", "ssim"),
  [(2, 33.66, 0.9299), (3, 30.39, 0.8682), (4, 28.42, 0.8104)],
)
def test_bicubic_scores_of_set5_are_the_literatures(scale, psnr, ssim):
  # The literature's row was computed on 8-bit luma only, with LR unrounded. It
  # checks imresize, luma, PSNR, SSIM and border together.
  rows = []
  for path in rgb.list_images(SHARED / "benchmarks" / "Set5" / "HR"):
    hr = unit(resize.mod_crop(rgb.read_rgb(path), scale))
    y = np.floor(np.asarray(metrics.luma(hr)[0], np.float64) + 0.5)
    sr = resize.upscale(resize.downscale(y, scale), scale)
    sr = np.floor(np.clip(sr, 0, 255) + 0.5)
    # Three equal planes have the scores of one.
    a, b = (np.repeat(x[..., None], 3, -1).astype(np.uint8) for x in (sr, y))
    rows.append(metrics.image_scores(a, b, scale, "rgb"))
  assert round(np.mean([row["psnr_rgb"] for row in rows]), 2) == psnr
  assert round(np.mean([row["ssim_rgb"] for row in rows]), 4) == ssim


@pytest.mark.parametrize(
  "dtype", ["uint8", "uint16", "int32", "int8", "float16", "float32", "float64"]
)
def test_psnr_and_ssim_of_every_dtype_are_scikit_images(dtype):
  top = 100 if dtype == "int8" else 250
  rng = np.random.default_rng(0)
  a, b = (rng.integers(0, top, (24, 31)).astype(dtype) for _ in range(2))
  psnr, ssim = skimage_scores(*(x.astype(np.float64) for x in (a, b)))
  # 16 bits have no usual peak.
  peak = 255 if dtype == "uint16" else None
  for x, y in ((a, b), (a.astype(a.dtype.newbyteorder(">")), b)):
    assert float(metrics.psnr(x, y, peak)) == pytest.approx(psnr, abs=1e-4)
    assert float(metrics.ssim(x, y, peak)) == pytest.approx(ssim, abs=1e-4)


def test_16_bits_have_their_own_peak():
  a, b = np.full((2, 12, 12), [[[10]], [[2580]]], np.uint16)
  want = 20 * np.log10(65535 / 2570)
  assert float(metrics.psnr(a, b, 65535)) == pytest.approx(want, abs=1e-4)


def test_floats_in_the_unit_range_have_their_own_peak():
  a, b = np.full((2, 12, 12), [[[0.25]], [[0.5]]])
  want = 20 * np.log10(1 / 0.25)
  assert float(metrics.psnr(a, b, 1)) == pytest.approx(want, abs=1e-4)
  assert float(metrics.psnr(255 * a, 255 * b)) == pytest.approx(want, abs=1e-4)
  # skimage's range of [-1, 1] is 2.
  assert float(metrics.psnr(2 * a - 1, 2 * b - 1, 2)) == pytest.approx(want)


PLANE, IMAGE = np.zeros((16, 16)), np.zeros((1, 16, 16, 3), np.uint8)
RAMP = np.arange(256.0).reshape(16, 16)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: metrics.psnr(PLANE, PLANE[0]), "shapes differ"),
    (lambda: metrics.ssim(PLANE, PLANE[:, :12]), "shapes differ"),
    (lambda: metrics.psnr(IMAGE[0], IMAGE[0]), "without channels last"),
    (
      lambda: metrics.psnr(PLANE > 0, PLANE > 0),
      "integers or floats; got bool",
    ),
    (lambda: metrics.psnr(PLANE + 1j, PLANE + 1j), "got complex"),
    (lambda: metrics.ssim(PLANE[:9], PLANE[:9]), "at least 11×11"),
    (
      lambda: metrics.psnr(*[RAMP.astype("u2")] * 2),
      "uint16 need peak=65535",
    ),
    (
      lambda: metrics.ssim(*[RAMP.astype(">u2")] * 2),
      "uint16 need peak=65535",
    ),
    (lambda: metrics.psnr(RAMP, RAMP + 0j), "got complex"),
    (lambda: metrics.psnr(RAMP / 255, RAMP / 255), r"need a peak: 1 for \[0"),
    (lambda: metrics.psnr(RAMP, RAMP, 1), r"another peak than 1: pass theirs"),
    (
      lambda: metrics.psnr(257 * RAMP.astype("i4"), RAMP),
      r"\[0, 65535\] have another peak than 255",
    ),
    (lambda: metrics.psnr(RAMP, RAMP, 0), "a number above 0; got 0"),
    (lambda: metrics.psnr(RAMP, np.nan * RAMP), "planes must be finite"),
    (lambda: metrics.scores(*[IMAGE[:, :5, :5]] * 2, 0), "5×5 pixels are less"),
    (
      lambda: metrics.image_scores(IMAGE, IMAGE, 0),
      "SR and HR must be H×W×3",
    ),
    (lambda: metrics.luma(IMAGE), "must be floating .* got uint8"),
    (lambda: metrics.luma(PLANE.astype("f")), "RGB must be …×3"),
    (lambda: metrics.scores(IMAGE[0], IMAGE[0], 2), "must be N×H×W×3"),
    (lambda: metrics.scores(IMAGE, IMAGE[:, :12], 2), "SR is .*, but HR is"),
    (
      lambda: metrics.scores(*[IMAGE.astype(np.uint16)] * 2, 2),
      "uint8 or floating in .* got uint16: divide it by 65535",
    ),
    (
      lambda: metrics.image_scores(*[IMAGE[0].astype(np.int32)] * 2, 2),
      "got int32",
    ),
    (
      lambda: metrics.image_scores(*[IMAGE[0] + np.float32(200)] * 2, 2),
      "must be in .*200",
    ),
    (lambda: metrics.scores(IMAGE, IMAGE, -1), "border must be .* got -1"),
    (lambda: metrics.scores(IMAGE, IMAGE, 1.5), "border must be .* got 1.5"),
    (
      lambda: metrics.image_scores(IMAGE[0], IMAGE[0], -1),
      "border must be .* got -1",
    ),
    (
      lambda: metrics.scores(IMAGE, IMAGE, 2, size=(999, 9)),
      "size must be .* got 999",
    ),
    (lambda: metrics.scores(IMAGE, IMAGE, 2, "y"), "planes 'y'; choose from"),
    (lambda: metrics.luma(IMAGE / 255, "rec709"), "luma 'rec709'; choose from"),
  ],
)
def test_invalid_inputs_are_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_psnr_by_hand():
  a = np.zeros((1, 12, 12), np.float32)
  assert float(metrics.psnr(a, a + 255)[0]) == pytest.approx(0)
  assert float(metrics.psnr(a, a + 25.5)[0]) == pytest.approx(20, abs=1e-4)
  assert np.isinf(metrics.psnr(a, a)[0])
  assert float(metrics.ssim(a + 7, a + 7)[0]) == pytest.approx(1)


def test_rounding_is_half_up_and_clipped():
  soft = np.float32([-0.1, 0.4, 0.5, 1.49, 260]) / 255
  hard = np.uint8([0, 0, 1, 1, 255])
  soft, hard = (np.resize(x, (1, 15, 15, 3)) for x in (soft, hard))
  assert np.isinf(metrics.scores(soft, hard, 0)["psnr_y"][0])
  assert np.isfinite(metrics.scores(soft, hard, 0, rounded=False)["psnr_y"][0])


def test_uint8_and_floats_have_the_same_scores():
  sr, hr = noisy("chelsea", 5)
  for planes in ("matlab", "bam", "rgb"):
    found = metrics.scores(sr[None], hr[None], 2, planes)
    want = metrics.scores(unit(sr), unit(hr), 2, planes)
    for name, value in found.items():
      np.testing.assert_allclose(value, want[name], rtol=1e-6)


def test_the_border_is_cropped():
  sr, hr = noisy("chelsea", 0)
  sr = sr.copy()
  sr[:2], sr[-2:], sr[:, :2], sr[:, -2:] = 0, 0, 0, 0
  assert np.isinf(metrics.scores(unit(sr), unit(hr), 2)["psnr_y"][0])
  assert np.isfinite(metrics.scores(unit(sr), unit(hr), 1)["psnr_y"][0])


def test_each_image_of_a_batch_has_its_own_score():
  (a, hr), (b, _) = noisy("chelsea", 2), noisy("chelsea", 20)
  sr = np.concatenate([unit(a), unit(b)])
  both = metrics.scores(sr, np.concatenate([unit(hr)] * 2), 2)
  alone = metrics.scores(unit(b), unit(hr), 2)
  np.testing.assert_allclose(both["psnr_y"][1], alone["psnr_y"][0], rtol=1e-5)
  assert both["psnr_y"][0] > both["psnr_y"][1] + 10


def test_unrounded_scores_differ_from_rounded_ones():
  sr, hr = noisy("chelsea", 3)
  soft = unit(sr) + np.float32(0.4 / 255)
  rounded = metrics.scores(soft, unit(hr), 2)
  plain = metrics.scores(unit(sr), unit(hr), 2)
  raw = metrics.scores(soft, unit(hr), 2, rounded=False)
  # Clipping aside, rounding gives the 8-bit image back.
  np.testing.assert_allclose(rounded["psnr_y"], plain["psnr_y"], rtol=1e-6)
  assert abs(float(raw["psnr_y"][0] - plain["psnr_y"][0])) > 1e-3


@pytest.mark.parametrize("planes", ["matlab", "bam", "rgb"])
@pytest.mark.parametrize("rounded", [True, False])
def test_padding_changes_no_score(planes, rounded):
  sr, hr = (x[:97, :141] for x in noisy("coffee", 6))
  options = {"border": 3, "planes": planes, "rounded": rounded}
  padded = metrics.image_scores(sr, hr, **options)
  plain = metrics.scores(unit(sr), unit(hr), **options)
  assert padded.keys() == plain.keys()
  for name, value in padded.items():
    assert value == pytest.approx(float(plain[name][0]), rel=1e-6)


def test_padded_images_of_similar_sizes_share_a_program():
  sr, hr = noisy("coffee", 6)
  with jax.log_compiles(), _counted() as compiled:
    for height, width in ((130, 190), (190, 130), (129, 192), (180, 180)):
      for border in (2, 3):
        crop = np.s_[:height, :width]
        metrics.image_scores(sr[crop], hr[crop], border)
  assert sum("jit(_scores)" in line for line in compiled) == 1


@contextlib.contextmanager
def _counted():
  """Yields the list of programs that JAX logs as compiled."""
  lines = []
  handler = logging.Handler()
  handler.emit = lambda record: lines.append(record.getMessage())
  logger = logging.getLogger("jax._src.interpreters.pxla")
  logger.addHandler(handler)
  try:
    yield lines
  finally:
    logger.removeHandler(handler)


def test_rgb_scores_equal_scikit_images_mean_over_channels():
  sr, hr = noisy("astronaut")
  found = metrics.image_scores(sr, hr, 10, planes="rgb")
  a, b = (x[10:-10, 10:-10].astype(float) for x in (sr, hr))
  psnr = skimage.metrics.peak_signal_noise_ratio(b, a, data_range=255)
  ssim = np.mean([skimage_scores(a[..., c], b[..., c])[1] for c in range(3)])
  assert found["psnr_rgb"] == pytest.approx(psnr, abs=1e-3)
  assert found["ssim_rgb"] == pytest.approx(ssim, abs=1e-5)


def test_too_small_images_and_unlike_shapes_are_refused():
  image = np.zeros((14, 40, 3), np.uint8)
  assert metrics.image_scores(image, image, 1)["ssim_y"] == 1
  with pytest.raises(ValueError, match="40×14 .* border of 2"):
    metrics.image_scores(image, image, 2)
  assert np.isnan(metrics.scores(unit(image), unit(image), 2)["ssim_y"][0])
  assert np.isnan(metrics.scores(unit(image), unit(image), 9)["psnr_y"][0])
  with pytest.raises(ValueError, match="SR is .*, but HR is"):
    metrics.image_scores(image, image[:, 1:], 1)
