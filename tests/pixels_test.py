"""Every public function accepts and refuses the same images."""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data

import bamjax
from bamjax import metrics
from bamjax import pixels
from bamjax.data.degradation import degrader
from bamjax.data.sources import ImagePair
from bamjax.errors import UserError
from bamjax.evaluation import protocols
from bamjax.evaluation import scoring
from bamjax.images import resize

HR = skimage.data.astronaut()[::8, ::8]
UNIT = HR / np.float32(255)


class Double(nn.Module):
  """A network: each pixel becomes four."""

  scale: int = 2

  @nn.compact
  def __call__(self, lr):
    return lr.repeat(2, axis=1).repeat(2, axis=2)


UPSCALE = bamjax.Upscaler(Double(), {"params": {}})


def score_network(sr):
  pair = ImagePair("a", lambda: (HR[::2, ::2], HR))
  found = scoring.evaluate(lambda lr: sr, [pair], 2)
  return found["matlab"]["psnr_y"]


ENTRIES = {
  "scores": lambda x: metrics.scores(x[None], UNIT[None], 2),
  "scores, HR": lambda x: metrics.scores(UNIT[None], x[None], 2),
  "image_scores": lambda x: metrics.image_scores(x, UNIT, 2),
  "luma": metrics.luma,
  "Upscaler": UPSCALE,
  "attention_maps": lambda x: bamjax.attention_maps(Double(), {}, x),
  "protocol": lambda x: protocols.MATLAB.score(x, HR, 2),
}


def with_nan(image):
  image = image.copy()
  image[0, 2, 1] = np.nan
  return image


# What is no image, and what the message advises.
REFUSED = {
  "[0, 255]": (HR.astype(np.float32), "divide by the value of white"),
  "[-1, 1]": (2 * UNIT - 1, r"\(x \+ 1\) / 2"),
  # Above -1 everywhere: black is -0.98.
  "(-1, 1)": (1.98 * UNIT - 0.98, r"\(x \+ 1\) / 2"),
  "NaN": (with_nan(UNIT), "must be finite; 1 of 12288 values"),
  "infinity": (np.where(UNIT > 0.9, np.inf, UNIT), "must be finite"),
  "jax.Array": (jnp.asarray(HR, jnp.float32), r"got \[0, 255\]"),
  "bfloat16": (jnp.asarray(HR, jnp.bfloat16), r"got \[0, 255\]"),
  "integers": (HR.astype(np.int32), "got int32"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("entry", ENTRIES)
def test_what_is_no_image_is_refused(entry, kind):
  image, message = REFUSED[kind]
  with pytest.raises(UserError, match=message) as caught:
    ENTRIES[entry](image)
  assert "\n" not in str(caught.value)


@functools.cache
def overshooting():
  """What resizing, noise and networks make of an image, not clipped."""
  bicubic = resize.upscale(resize.downscale(UNIT, 2), 2)
  noise = np.random.default_rng(0).normal(0, 50 / 255, HR.shape)
  sharpened = UNIT + 0.5 * (UNIT - resize.upscale(resize.downscale(UNIT, 4), 4))
  return {"bicubic": bicubic, "noise": UNIT + noise, "sharpened": sharpened}


@pytest.mark.parametrize("kind", ["bicubic", "noise", "sharpened"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_images_may_overshoot(entry, kind):
  image = overshooting()[kind].astype(np.float32)
  assert image.min() < 0 or image.max() > 1
  ENTRIES[entry](image)


def test_what_overshoots_is_clipped():
  image = overshooting()["noise"].astype(np.float32)
  clipped = np.clip(image, 0, 1)
  found = metrics.image_scores(image, UNIT, 2)
  assert found == metrics.image_scores(clipped, UNIT, 2)
  assert metrics.image_scores(UNIT, image, 2) == metrics.image_scores(
    UNIT, clipped, 2
  )


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f4", "f2"])
@pytest.mark.parametrize("entry", ENTRIES)
def test_any_byte_order_and_width_is_an_image(entry, dtype):
  found = ENTRIES[entry](UNIT.astype(dtype))
  want = ENTRIES[entry](UNIT.astype("f2" if dtype == "f2" else "f4"))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b), found, want)


def test_traced_images_are_the_callers_responsibility():
  found = jax.jit(metrics.scores, static_argnums=2)(
    HR[None].astype(np.float32), UNIT[None], 2
  )
  assert np.isfinite(found["psnr_y"])
  with pytest.raises(ValueError, match="5×5 pixels are less than SSIM's"):
    jax.jit(metrics.scores, static_argnums=2)(
      UNIT[None, :5, :5], UNIT[None, :5, :5], 0
    )


def test_16_bits_are_for_networks():
  deep = HR.astype(">u2") * 257
  np.testing.assert_array_equal(UPSCALE(deep), deep.repeat(2, 0).repeat(2, 1))
  module = bamjax.create_model("edsr", "acam", features=16, blocks=1)
  variables = module.init(jax.random.key(0), UNIT[None])
  found, want = (
    bamjax.attention_maps(module, variables, x) for x in (deep, UNIT)
  )
  assert found
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, want
  )
  with pytest.raises(UserError, match="got uint16: divide it by 65535"):
    metrics.image_scores(deep, UNIT, 2)


def test_evaluation_takes_8_bits_and_refuses_other_outputs(caplog):
  with pytest.raises(UserError, match="none of the images"):
    score_network(255 * UNIT)
  assert r"floating SR must be in [0, 1]; got [0, 255]" in caplog.text
  pair = ImagePair("a", lambda: (UNIT[::2, ::2], UNIT))
  with pytest.raises(UserError, match="none of the images"):
    scoring.evaluate(UPSCALE, [pair], 2)
  assert "LR must be uint8; got float32" in caplog.text
  with pytest.raises(UserError, match="LR must be uint8; got float32"):
    degrader.parse("noise:15")("a", UNIT, HR)


def test_saved_outputs_are_clipped():
  outputs = np.float32([-0.05, 0.5, 1.1])
  sr = np.broadcast_to(outputs, HR.shape)
  saved = []
  scoring.evaluate(
    lambda lr: sr,
    [ImagePair("a", lambda: (HR[::2, ::2], HR))],
    2,
    save=lambda *found: saved.append(found[2]),
  )
  np.testing.assert_array_equal(saved[0][0, 0], [0, 128, 255])


def test_modules_without_a_scale_take_features():
  x = np.random.default_rng(0).normal(0, 9, (1, 8, 8, 16)).astype(np.float32)
  attention = bamjax.BAM(4)
  variables = attention.init(jax.random.key(0), x)
  assert bamjax.attention_maps(attention, variables, x)


def test_an_array_on_the_host_is_not_changed():
  image = np.zeros((2, 2, 3), ">u2")
  assert pixels.as_array(image).dtype == np.dtype("u2")
  assert image.dtype == np.dtype(">u2")
  device = jnp.ones(3)
  assert pixels.as_array(device) is device
