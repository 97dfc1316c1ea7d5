"""Degrades whole images, always in the same way, to validate and evaluate."""

import dataclasses
import functools
import zlib

import jax
import numpy as np

from bamjax.data.degradation import mixtures
from bamjax.data.degradation.degrade import degrade
from bamjax.data.degradation.mixtures import Jpeg
from bamjax.data.degradation.mixtures import Mixture
from bamjax.data.degradation.mixtures import Noise
from bamjax.data.degradation.mixtures import Photo
from bamjax.data.degradation.random_keys import sample_keys
from bamjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Degrader:
  """Degrades images by a mixture; an image's draws depend on its name only.

  Attributes:
    name: for tables and results, e.g. "noise:15".
    mixture: what is drawn from.
    seed: of the draws, an int32.
  """

  name: str
  mixture: Mixture
  seed: int = 0

  def __call__(self, image: str, lr: np.ndarray, hr: np.ndarray) -> np.ndarray:
    """Degrades an image.

    Args:
      image: its name.
      lr: h×w×3 uint8, clean.
      hr: sh×sw×3 uint8.

    Returns:
      h×w×3 uint8.

    Raises:
      UserError: the image is too small for the mixture.
    """
    with jax.enable_x64(False):
      key = sample_keys(self.seed, 0, 1)[0]
      # By name, as indices change when an image is left out.
      key = jax.random.fold_in(key, np.uint32(zlib.crc32(image.encode())))
      return np.asarray(_run(lr[None], hr[None], key[None], self.mixture)[0])


_run = functools.partial(jax.jit, static_argnums=3)(degrade)


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
    mixture = Jpeg(quality=quality, random_grid=False)
    return Degrader(f"jpeg:{number}", mixture)
  if not 0 <= number < 2**31:
    raise UserError(f"{text}: the seed must be from 0 to {2**31 - 1}")
  return Degrader(f"photo:{number}", Photo(), int(number))


def of_mixture(name: str, mixture: Mixture) -> Degrader | None:
  """What validates a training on a mixture; None if LR stays as it is."""
  if isinstance(mixture, mixtures.Bicubic):
    return None
  if isinstance(mixture, Jpeg):
    mixture = dataclasses.replace(mixture, random_grid=False)
  return Degrader(name, mixture)
