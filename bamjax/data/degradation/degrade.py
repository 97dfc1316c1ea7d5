"""Degrades the LR patches of a batch by a mixture."""

import jax
import jax.numpy as jnp

from bamjax.data.degradation import drawing
from bamjax.data.degradation import jpeg as jpeg_lib
from bamjax.data.degradation import noise
from bamjax.data.degradation import photo
from bamjax.data.degradation.mixtures import Bicubic
from bamjax.data.degradation.mixtures import Jpeg
from bamjax.data.degradation.mixtures import Mixture
from bamjax.data.degradation.mixtures import Noise
from bamjax.data.degradation.mixtures import Photo


def degrade(
  lr: jax.Array,
  hr: jax.Array,
  keys: jax.Array,
  mixture: Mixture,
  filled: tuple[photo.Filled, photo.Filled] | None = None,
) -> jax.Array:
  """Makes the LR images that a network is trained or evaluated on.

  A sample depends on its own images and key alone.

  Args:
    lr: N×h×w×3 uint8, bicubic LR, which all mixtures but `Photo` start from.
    hr: N×sh×sw×3 uint8, which `Photo` starts from.
    keys: N keys of `jax.random`, as of `random_keys.sample_keys`.
    mixture: what is drawn from; static.
    filled: heights and widths of HR and LR within their arrays, see
      `photo.degrade_photo`. Noise and JPEG are those of an image of just this
      size, bit for bit; JPEG's blocks must begin at its top left.

  Returns:
    N×h×w×3 uint8; of `Bicubic` it is `lr` itself.

  Raises:
    UserError: the images are too small for the mixture.
  """
  if isinstance(mixture, Bicubic):
    return lr
  shape = lr.shape[1], lr.shape[2]
  source = lr
  low = filled[1] if filled else None
  if isinstance(mixture, Photo):
    photo.check_shapes((hr.shape[1], hr.shape[2]), shape, mixture)
    source = hr

  def one(key: jax.Array, image: jax.Array) -> jax.Array:
    planes = image.transpose(2, 0, 1).astype(jnp.float32) / 255
    if isinstance(mixture, Photo):
      out = photo.degrade_photo(key, planes, shape, mixture, filled)
    elif isinstance(mixture, Noise):
      out = _noisy(key, planes, mixture, low)
    else:
      out = _compressed(key, planes, mixture, low)
    levels = jnp.floor(jnp.clip(out, 0, 1) * 255 + 0.5)
    return levels.astype(jnp.uint8).transpose(1, 2, 0)

  return jax.vmap(one)(keys, source)


def _noisy(
  key: jax.Array, image: jax.Array, mixture: Noise, low: photo.Filled | None
) -> jax.Array:
  draw_key, noise_key = jax.random.split(key)
  u = jax.random.uniform(draw_key, (2,), jnp.float32)
  gray = u[1] < mixture.gray_probability
  normal = noise.standard_noise(noise_key, image.shape, gray, low)
  sigma = drawing.between(u[0], mixture.sigma)
  return noise.gaussian_noise(image, normal, sigma)


def _compressed(
  key: jax.Array, image: jax.Array, mixture: Jpeg, low: photo.Filled | None
) -> jax.Array:
  u = jax.random.uniform(key, (3,), jnp.float32)
  quality = drawing.whole(u[0], mixture.quality)
  if not mixture.random_grid:
    return jpeg_lib.jpeg(image, quality, mixture.subsampling, low)
  corner = jnp.floor(u[1:] * jpeg_lib.GRID).astype(jnp.int32)
  return jpeg_lib.jpeg_at(image, quality, corner, mixture.subsampling)
