"""Color, gray and alpha of one image."""

import numpy as np
import pytest

import bamjax
from bamjax.images import image_file
from bamjax.images import resize
from bamjax.upscaling import one_image
from upscaling.calls import RGB


def test_alpha_is_upscaled_by_the_network(weights):
  upscaler = bamjax.Upscaler(*bamjax.load_weights(weights))
  alpha = RGB[..., 1]
  larger = one_image.upscale_image(upscaler, image_file.ImageData(RGB, alpha))
  three = np.repeat(alpha[..., None], 3, axis=2)
  want = upscaler(three).mean(-1)
  np.testing.assert_allclose(larger.alpha, want, atol=1)
  flat = np.full(alpha.shape, 77, np.uint8)
  larger = one_image.upscale_image(upscaler, image_file.ImageData(RGB, flat))
  assert (larger.alpha == 77).all()


@pytest.mark.parametrize("under", ["black", "noise"])
def test_color_under_transparency_does_not_bleed_into_the_edge(under):
  y, x = np.mgrid[:32, :32]
  alpha = np.clip(11 - np.hypot(y - 15.5, x - 15.5), 0, 1)
  alpha = (alpha * 255).astype(np.uint8)
  visible = np.stack([200 + x, 4 * y, 3 * x], axis=-1)
  noise = np.random.default_rng(0).integers(0, 256, visible.shape)
  hidden = noise if under == "noise" else 0
  color = np.where(alpha[..., None], visible, hidden).astype(np.uint8)

  def upscaler(image, progress=None):
    return resize.upscale(image, 2)

  larger = one_image.upscale_image(upscaler, image_file.ImageData(color, alpha))
  # Bicubic of color that is multiplied by alpha, and of alpha.
  share = (alpha[..., None] / 255).astype(np.float32)
  color_share = resize.upscale(color / 255 * share, 2)
  want = color_share / np.maximum(resize.upscale(share, 2), 0.01) * 255
  seen = larger.alpha > 32
  assert np.abs(larger.color - want)[seen].max() < 6
  # All of it hidden: it stays.
  none = image_file.ImageData(color, np.zeros_like(alpha))
  same = one_image.upscale_image(upscaler, none).color
  np.testing.assert_array_equal(same, upscaler(color))
