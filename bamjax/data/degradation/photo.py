"""The mixture `photo`: LR as cameras and the web would make it.

`mixtures.Photo` says what differs from the published one. A sample draws all
its uniform numbers at once, and then maps them to its ranges: each draw of its
own takes XLA a second to compile.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bamjax.data.degradation import blur
from bamjax.data.degradation import jpeg as jpeg_lib
from bamjax.data.degradation import noise
from bamjax.data.degradation.mixtures import between
from bamjax.data.degradation.mixtures import Photo
from bamjax.data.degradation.mixtures import Stage
from bamjax.data.degradation.mixtures import Whole
from bamjax.data.degradation.mixtures import whole
from bamjax.data.degradation.rescaling import METHODS
from bamjax.data.degradation.rescaling import rescale
from bamjax.data.degradation.rescaling import scaled_size
from bamjax.data.degradation.rescaling import Size
from bamjax.errors import UserError

Shape = tuple[int, int]
# The same, traced, of an image at the top left of a larger array.
Filled = tuple[Size, Size]

# Of `Stage.kernel_probabilities`.
_ISOTROPIC = np.array([True, False, True, False, True, False])
_SHAPED, _PLATEAU = 2, 4
STAGE_NUMBERS = 18


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
  stages = 2 * STAGE_NUMBERS
  u = jax.random.uniform(draw_key, (stages + 7,), jnp.float32)
  first = draw_stage(u[:STAGE_NUMBERS], photo.first)
  second = draw_stage(u[STAGE_NUMBERS:], photo.second)
  u = u[stages:]
  sinc = _draw_sinc(u, photo.second.kernel_size, photo.final_sinc_probability)
  jpeg_last = u[3] < photo.jpeg_last_probability
  method = _draw_method(u[4])
  corner = jnp.floor(u[5:7] * jpeg_lib.GRID).astype(jnp.int32)

  full = image.shape[1], image.shape[2]
  high, low = filled or (None, None)
  out, size = _stage(
    *(noise_keys[0], image, high, full, high or full), first, photo.first
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


class StageDraw(NamedTuple):
  """A stage's draws for one sample.

  Attributes:
    kernel: of the blur, k×k float32, k the stage's largest side.
    factor: of the resizing, float32.
    method: of the resizing, an index of `rescaling.METHODS`.
    is_gaussian: whether noise is Gaussian; else it is Poisson's.
    sigma: of Gaussian noise, in levels of 255.
    scale: of Poisson's noise.
    gray: whether all channels get the same noise.
    quality: of the JPEG, int32.
  """

  kernel: jax.Array
  factor: jax.Array
  method: jax.Array
  is_gaussian: jax.Array
  sigma: jax.Array
  scale: jax.Array
  gray: jax.Array
  quality: jax.Array


def draw_stage(u: jax.Array, stage: Stage) -> StageDraw:
  """Maps uniform numbers in [0, 1), `STAGE_NUMBERS` of them, to a stage's."""
  low, high = stage.resize
  factors = [
    between(u[1], (max(low, 1.0), max(high, 1.0))),
    between(u[1], (min(low, 1.0), min(high, 1.0))),
    jnp.float32(1),
  ]
  return StageDraw(
    kernel=_draw_kernel(u[8:], stage),
    factor=jnp.stack(factors)[_choose(u[0], stage.resize_probabilities)],
    method=_draw_method(u[2]),
    is_gaussian=u[3] < stage.gaussian_probability,
    sigma=between(u[4], stage.gaussian_sigma),
    scale=between(u[5], stage.poisson_scale),
    gray=u[6] < stage.gray_probability,
    quality=whole(u[7], stage.jpeg_quality),
  )


def _draw_kernel(u, stage):
  """A blur kernel, or a single pixel where the stage does not blur."""
  largest = stage.kernel_size[1]
  size = _side(u[0], stage.kernel_size)
  kind = _choose(u[1], stage.kernel_probabilities)
  sigma_x = between(u[2], stage.blur_sigma)
  sigma_y = between(u[3], stage.blur_sigma)
  sigma_y = jnp.where(jnp.asarray(_ISOTROPIC)[kind], sigma_x, sigma_y)
  angle = between(u[4], (-np.pi, np.pi))
  beta = _around_one(u[5], u[6], stage.gaussian_beta)
  beta = jnp.where(kind < _SHAPED, 1, beta)
  gaussian = blur.gaussian_kernel(
    size, sigma_x, sigma_y, angle, beta, max_size=largest
  )
  beta = _around_one(u[5], u[6], stage.plateau_beta)
  plateau = blur.plateau_kernel(
    size, sigma_x, sigma_y, angle, beta, max_size=largest
  )
  # Small kernels cannot hold the rings of a low cutoff.
  lowest = jnp.where(size < 13, np.pi / 3, np.pi / 5)
  cutoff = lowest + u[7] * (np.pi - lowest)
  sinc = blur.sinc_kernel(size, cutoff, max_size=largest)
  kernel = jnp.where(kind < _PLATEAU, gaussian, plateau)
  kernel = jnp.where(u[8] < stage.sinc_probability, sinc, kernel)
  return jnp.where(u[9] < stage.blur_probability, kernel, _pixel(largest))


def _draw_sinc(u: jax.Array, sides: Whole, probability: float) -> jax.Array:
  """Maps three uniform numbers to the last sinc filter, or a single pixel."""
  cutoff = between(u[0], (np.pi / 3, np.pi))
  sinc = blur.sinc_kernel(_side(u[1], sides), cutoff, max_size=sides[1])
  return jnp.where(u[2] < probability, sinc, _pixel(sides[1]))


def _choose(u: jax.Array, probabilities: tuple[float, ...]) -> jax.Array:
  """Maps a uniform number to an index, int32, of the given probabilities."""
  limits = np.cumsum(probabilities)[:-1].astype(np.float32)
  return jnp.sum(u >= limits).astype(jnp.int32)


def _draw_method(u: jax.Array) -> jax.Array:
  """Maps a uniform number to an index of `rescaling.METHODS`."""
  return whole(u, (0, len(METHODS) - 1))


def _side(u, sides):
  """An odd side."""
  return 2 * whole(u, (sides[0] // 2, sides[1] // 2)) + 1


def _around_one(which, u, values):
  """Below and above 1 equally often, where the range holds 1."""
  low, high = values
  if not low <= 1 <= high:
    return between(u, values)
  return jnp.where(which < 0.5, between(u, (low, 1)), between(u, (1, high)))


def _pixel(side):
  """The kernel that changes nothing."""
  kernel = np.zeros((side, side), np.float32)
  kernel[side // 2, side // 2] = 1
  return kernel
