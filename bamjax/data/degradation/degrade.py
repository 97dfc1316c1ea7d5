"""Degrades the LR patches of a batch by a mixture."""

import jax
import jax.numpy as jnp

from bamjax.data.degradation import jpeg as jpeg_lib
from bamjax.data.degradation import noise
from bamjax.data.degradation import photo
from bamjax.data.degradation.mixtures import between
from bamjax.data.degradation.mixtures import Bicubic
from bamjax.data.degradation.mixtures import Jpeg
from bamjax.data.degradation.mixtures import Mixture
from bamjax.data.degradation.mixtures import Noise
from bamjax.data.degradation.mixtures import Photo
from bamjax.data.degradation.mixtures import whole

# Keeps the keys apart from those that the same seed gives to crops and weights.
_STREAM = 0xDE62AD


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
    keys: N keys of `jax.random`, as of `sample_keys`.
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
  sigma = between(u[0], mixture.sigma)
  return noise.gaussian_noise(image, normal, sigma)


def _compressed(
  key: jax.Array, image: jax.Array, mixture: Jpeg, low: photo.Filled | None
) -> jax.Array:
  u = jax.random.uniform(key, (3,), jnp.float32)
  quality = whole(u[0], mixture.quality)
  if not mixture.random_grid:
    return jpeg_lib.jpeg(image, quality, mixture.subsampling, low)
  corner = jnp.floor(u[1:] * jpeg_lib.GRID).astype(jnp.int32)
  return jpeg_lib.jpeg_at(image, quality, corner, mixture.subsampling)


def sample_keys(
  seed: jax.Array | int, step: jax.Array | int, batch_size: int
) -> jax.Array:
  """A key for each sample of a global batch, from (seed, step, index) alone.

  Args:
    seed: int32 scalar.
    step: int32 scalar, 0 for the first batch.
    batch_size: N.

  Returns:
    N keys of `jax.random`.
  """
  # Widths and generator are named, as in `bamjax.data.sampling`.
  seed, step = (jnp.asarray(n).astype(jnp.int32) for n in (seed, step))
  key = jax.random.key(seed, impl="threefry2x32")
  key = jax.random.fold_in(jax.random.fold_in(key, _STREAM), step)
  index = jnp.arange(batch_size, dtype=jnp.uint32)
  return jax.vmap(lambda i: jax.random.fold_in(key, i))(index)
