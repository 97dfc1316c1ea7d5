"""The mixture `photo`: LR as cameras and the web would make it.

`mixtures.Photo` says what differs from the published one.
"""

import jax
import jax.numpy as jnp

from bamjax.data.degradation import blur
from bamjax.data.degradation import drawing
from bamjax.data.degradation import jpeg as jpeg_lib
from bamjax.data.degradation import noise
from bamjax.data.degradation.mixtures import Photo
from bamjax.data.degradation.mixtures import Stage
from bamjax.data.degradation.rescaling import rescale
from bamjax.data.degradation.rescaling import scaled_size
from bamjax.errors import UserError

Shape = tuple[int, int]


def degrade_photo(
  key: jax.Array, image: jax.Array, shape: Shape, photo: Photo
) -> jax.Array:
  """Degrades one image.

  Args:
    key: of `jax.random`.
    image: 3×H×W in [0, 1], HR.
    shape: height and width of LR.
    photo: the ranges.

  Returns:
    3×h×w float32 in [0, 1].
  """
  draw_key, *noise_keys = jax.random.split(key, 3)
  stages = 2 * drawing.STAGE_NUMBERS
  u = jax.random.uniform(draw_key, (stages + 7,), jnp.float32)
  first = drawing.draw_stage(u[: drawing.STAGE_NUMBERS], photo.first)
  second = drawing.draw_stage(u[drawing.STAGE_NUMBERS :], photo.second)
  u = u[stages:]
  sinc = drawing.draw_sinc(
    u, photo.second.kernel_size, photo.final_sinc_probability
  )
  jpeg_last = u[3] < photo.jpeg_last_probability
  method = drawing.draw_method(u[4])
  corner = jnp.floor(u[5:7] * jpeg_lib.GRID).astype(jnp.int32)

  base = image.shape[1], image.shape[2]
  out, size = _stage(noise_keys[0], image, None, base, first, photo.first)
  out = jpeg_lib.jpeg(out, first.quality, photo.subsampling)
  out, size = _stage(noise_keys[1], out, size, shape, second, photo.second)
  coded = jpeg_lib.jpeg(out, second.quality, photo.subsampling)
  out = jnp.where(jpeg_last, out, coded)
  out = rescale(out, shape, method, source_size=size)
  out = jnp.clip(blur.blur(out, sinc), 0, 1)
  coded = jpeg_lib.jpeg_at(out, second.quality, corner, photo.subsampling)
  return jnp.where(jpeg_last, coded, out)


def _stage(key, image, size, base, draw, stage):
  """Blurs, resizes relative to `base`, and adds noise.

  Returns:
    The image, clipped, at the top left of an array for the largest factor, and
    the height and width that it fills there.
  """
  out = blur.blur(image, draw.kernel)
  shape = largest_shape(base, stage)
  height, width = (
    jnp.minimum(scaled_size(side, draw.factor), most)
    for side, most in zip(base, shape, strict=True)
  )
  filled = height, width
  out = rescale(out, shape, draw.method, source_size=size, target_size=filled)
  normal = noise.standard_noise(key, out.shape, draw.gray)
  out = jnp.where(
    draw.is_gaussian,
    noise.gaussian_noise(out, normal, draw.sigma),
    noise.poisson_noise(out, normal, draw.scale, draw.gray),
  )
  return jnp.clip(out, 0, 1), filled


def largest_shape(base: Shape, stage: Stage) -> Shape:
  """The height and width that a stage's largest factor makes of an image."""
  enlarge, shrink, keep = stage.resize_probabilities
  factors = [max(stage.resize[1], 1.0)] if enlarge else []
  factors += [min(stage.resize[1], 1.0)] if shrink else []
  factors += [1.0] if keep else []
  height, width = (int(side * max(factors) + 0.5) for side in base)
  return height, width


def check_shapes(shape: Shape, lr_shape: Shape, photo: Photo) -> None:
  """Checks that patches are large enough.

  Args:
    shape: height and width of HR.
    lr_shape: those of LR.
    photo: the ranges.

  Raises:
    UserError: a kernel does not fit, or the smallest factor leaves no pixel.
  """
  blur.check_image(*shape, photo.first.kernel_size[1])
  blur.check_image(*lr_shape, photo.second.kernel_size[1])
  for base, stage in ((shape, photo.first), (lr_shape, photo.second)):
    height, width = base
    if min(base) * stage.resize[0] < 1:
      raise UserError(
        f"resize={stage.resize} leaves no pixel of a patch of {width}×{height}:"
        " use larger patches or factors"
      )
