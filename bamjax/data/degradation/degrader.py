"""Degrades whole images, always in the same way, to validate and evaluate."""

import dataclasses
import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from bamjax import pixels
from bamjax.data.degradation import jpeg
from bamjax.data.degradation import mixtures
from bamjax.data.degradation import photo
from bamjax.data.degradation.degrade import degrade
from bamjax.data.degradation.degrade import sample_keys
from bamjax.data.degradation.mixtures import Jpeg
from bamjax.data.degradation.mixtures import Mixture
from bamjax.data.degradation.mixtures import Noise
from bamjax.data.degradation.mixtures import Photo
from bamjax.errors import UserError

# Incremented whenever a change of the code changes a degraded image.
VERSION = 1

# Sides of the arrays of LR, in pixels, are multiples of this. A program takes
# seconds to compile and megabytes to keep: images of similar sizes share it.
_GRAIN = 128


@dataclasses.dataclass(frozen=True)
class Degrader:
  """Degrades images by a mixture; an image's draws depend on its name only.

  Attributes:
    name: for tables and results, e.g. "noise:15".
    mixture: what is drawn from. JPEG's blocks begin at the top left, as in
      every file.
    seed: of the draws, an int32.
  """

  name: str
  mixture: Mixture
  seed: int = 0

  def __post_init__(self):
    if isinstance(self.mixture, Jpeg):
      whole = dataclasses.replace(self.mixture, random_grid=False)
      object.__setattr__(self, "mixture", whole)

  def __call__(self, image: str, lr: np.ndarray, hr: np.ndarray) -> np.ndarray:
    """Degrades an image.

    Args:
      image: its name.
      lr: h×w×3 uint8, clean.
      hr: sh×sw×3 uint8.

    Returns:
      h×w×3 uint8.

    Raises:
      UserError: the image is too small for the mixture, or not uint8.
    """
    pixels.check_uint8(lr, "LR")
    pixels.check_uint8(hr, "HR")
    with jax.enable_x64(False):
      key = sample_keys(self.seed, 0, 1)[0]
      # By name, as indices change when an image is left out.
      key = jax.random.fold_in(key, np.uint32(zlib.crc32(image.encode())))
      return _degraded(lr, hr, key, self.mixture)


def _degraded(
  lr: np.ndarray, hr: np.ndarray, key: jax.Array, mixture: Mixture
) -> np.ndarray:
  """Degrades an image within arrays whose sizes many images share."""
  height, width = lr.shape[:2]
  more = (-height % _GRAIN, -width % _GRAIN)

  def padded(image: np.ndarray, factor: int) -> np.ndarray:
    pad = [(0, factor * n) for n in more]
    return np.pad(image, [*pad, (0, 0)], mode="edge")[None]

  low = high = padded(lr, 1)
  if isinstance(mixture, Photo):
    photo.check_shapes((hr.shape[0], hr.shape[1]), (height, width), mixture)
    high = padded(hr, hr.shape[0] // height)
  elif isinstance(mixture, Jpeg):
    jpeg.check_image(height, width)
  sizes = jnp.array([hr.shape[:2], lr.shape[:2]], jnp.int32)
  out = _run(low, high, key[None], sizes, mixture)
  return np.asarray(out[0, :height, :width])


@functools.partial(jax.jit, static_argnums=4)
def _run(
  lr: jax.Array,
  hr: jax.Array,
  keys: jax.Array,
  sizes: jax.Array,
  mixture: Mixture,
) -> jax.Array:
  (high, low) = sizes
  filled = (high[0], high[1]), (low[0], low[1])
  return degrade(lr, hr, keys, mixture, filled)


def parse(text: str) -> Degrader | None:
  """Parses a degradation: noise:SIGMA, jpeg:QUALITY, photo:SEED or bicubic.

  The last is none. Sigma is in levels of 255. JPEG's chroma is subsampled
  (4:2:0), as by Pillow and most cameras.

  Raises:
    UserError: it has another form, or a value is out of range.
  """
  if text == "bicubic":
    return None
  kind, _, value = text.partition(":")
  try:
    number = float(value) if kind == "noise" else int(value)
  except ValueError:
    number = None
  if number is None or kind not in ("noise", "jpeg", "photo"):
    raise UserError(
      f"unknown degradation {text!r}: use noise:SIGMA (of 255), jpeg:QUALITY"
      " (1 to 100), photo:SEED or bicubic, e.g. noise:15"
    )
  if kind == "noise":
    return Degrader(f"noise:{number:g}", Noise(sigma=(number, number)))
  if kind == "jpeg":
    quality = int(number), int(number)
    return Degrader(f"jpeg:{number}", Jpeg(quality=quality))
  if not 0 <= number < 2**31:
    raise UserError(f"{text}: the seed must be from 0 to {2**31 - 1}")
  return Degrader(f"photo:{number}", Photo(), int(number))


def of_mixture(name: str, mixture: Mixture) -> Degrader | None:
  """What validates a training on a mixture; None if LR stays as it is."""
  if isinstance(mixture, mixtures.Bicubic):
    return None
  return Degrader(name, mixture)
