"""What one sample's degradation is: uniform numbers mapped to ranges.

A sample draws all its numbers at once: each draw of its own takes XLA a second
to compile.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bamjax.data.degradation import blur_kernels
from bamjax.data.degradation import rescaling
from bamjax.data.degradation.mixtures import Stage
from bamjax.data.degradation.ranges import Range
from bamjax.data.degradation.ranges import Whole

# Of `Stage.kernel_probabilities`.
_ISOTROPIC = np.array([True, False, True, False, True, False])
_SHAPED, _PLATEAU = 2, 4
STAGE_NUMBERS = 18


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
    factor=jnp.stack(factors)[choose(u[0], stage.resize_probabilities)],
    method=draw_method(u[2]),
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
  kind = choose(u[1], stage.kernel_probabilities)
  sigma_x = between(u[2], stage.blur_sigma)
  sigma_y = between(u[3], stage.blur_sigma)
  sigma_y = jnp.where(jnp.asarray(_ISOTROPIC)[kind], sigma_x, sigma_y)
  angle = between(u[4], (-np.pi, np.pi))
  beta = _around_one(u[5], u[6], stage.gaussian_beta)
  beta = jnp.where(kind < _SHAPED, 1, beta)
  gaussian = blur_kernels.gaussian_kernel(
    size, sigma_x, sigma_y, angle, beta, max_size=largest
  )
  beta = _around_one(u[5], u[6], stage.plateau_beta)
  plateau = blur_kernels.plateau_kernel(
    size, sigma_x, sigma_y, angle, beta, max_size=largest
  )
  # Small kernels cannot hold the rings of a low cutoff.
  lowest = jnp.where(size < 13, np.pi / 3, np.pi / 5)
  cutoff = lowest + u[7] * (np.pi - lowest)
  sinc = blur_kernels.sinc_kernel(size, cutoff, max_size=largest)
  kernel = jnp.where(kind < _PLATEAU, gaussian, plateau)
  kernel = jnp.where(u[8] < stage.sinc_probability, sinc, kernel)
  return jnp.where(u[9] < stage.blur_probability, kernel, _pixel(largest))


def draw_sinc(u: jax.Array, sides: Whole, probability: float) -> jax.Array:
  """Maps three uniform numbers to the last sinc filter, or a single pixel."""
  cutoff = between(u[0], (np.pi / 3, np.pi))
  sinc = blur_kernels.sinc_kernel(_side(u[1], sides), cutoff, max_size=sides[1])
  return jnp.where(u[2] < probability, sinc, _pixel(sides[1]))


def between(u: jax.Array, values: Range) -> jax.Array:
  """Maps a uniform number in [0, 1) to a range."""
  low, high = values
  return low + u * (high - low)


def whole(u: jax.Array, values: Whole) -> jax.Array:
  """Maps a uniform number to an int32 of a range, both ends included."""
  low, high = int(values[0]), int(values[1])
  at = jnp.floor(u * (high - low + 1)).astype(jnp.int32)
  return jnp.minimum(low + at, high)


def choose(u: jax.Array, probabilities: tuple[float, ...]) -> jax.Array:
  """Maps a uniform number to an index, int32, of the given probabilities."""
  limits = np.cumsum(probabilities)[:-1].astype(np.float32)
  return jnp.sum(u >= limits).astype(jnp.int32)


def draw_method(u: jax.Array) -> jax.Array:
  """Maps a uniform number to an index of `rescaling.METHODS`."""
  return whole(u, (0, len(rescaling.METHODS) - 1))


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
