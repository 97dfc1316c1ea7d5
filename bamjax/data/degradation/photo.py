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
from bamjax.data.degradation.rescaling import Size
from bamjax.errors import UserError

Shape = tuple[int, int]
# The same, traced, of an image at the top left of a larger array.
Filled = tuple[Size, Size]


def degrade_photo(
  key: jax.Array,
  image: jax.Array,
  shape: Shape,
  photo: Photo,
  filled: tuple[Filled, Filled] | None = None,
) -> jax.Array:
  """Degrades one image.

  Args:
    key: of `jax.random`.
    image: 3×H×W in [0, 1], HR.
    shape: height and width of LR.
    photo: the ranges.
    filled: heights and widths of HR and LR within their arrays, so that images
      of several sizes share a program; beyond, HR repeats its last row and
      column, as does the result. None: all of them.

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

  whole = image.shape[1], image.shape[2]
  high, low = filled or (None, None)
  out, size = _stage(
    *(noise_keys[0], image, high, whole, high or whole), first, photo.first
  )
  out = jpeg_lib.jpeg(out, first.quality, photo.subsampling)
  out, size = _stage(
    *(noise_keys[1], out, size, shape, low or shape), second, photo.second
  )
  coded = jpeg_lib.jpeg(out, second.quality, photo.subsampling)
  out = jnp.where(jpeg_last, out, coded)
  out = rescale(out, shape, method, source_size=size, target_size=low)
  out = jnp.clip(blur.blur(out, sinc), 0, 1)
  if low:
    out = _with_edges(out, low)
  coded = jpeg_lib.jpeg_at(out, second.quality, corner, photo.subsampling)
  return jnp.where(jpeg_last, coded, out)


def _with_edges(image: jax.Array, size: Filled) -> jax.Array:
  """Repeats the last row and column that an image fills."""
  rows, columns = (
    jnp.minimum(jnp.arange(length), last - 1)
    for length, last in zip(image.shape[1:], size, strict=True)
  )
  return image[:, rows][:, :, columns]


def _stage(key, image, size, canvas, base, draw, stage):
  """Blurs, resizes relative to `base`, and adds noise.

  Args:
    key: of the noise.
    image: 3×H×W.
    size: height and width that it fills there; None: all.
    canvas: those that the factors are relative to, at most.
    base: the same, of this image.
    draw: the numbers drawn.
    stage: their ranges.

  Returns:
    The image, clipped, at the top left of an array for the largest factor, and
    the height and width that it fills there.
  """
  out = blur.blur(image, draw.kernel)
  shape = largest_shape(canvas, stage)
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
