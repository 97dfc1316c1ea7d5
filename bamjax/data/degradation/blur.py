"""Blur: the kernels of BSRGAN and Real-ESRGAN, and one image blurred by one.

Kernels are max_size×max_size float32, sum to 1, and are zero outside a centred
square of `size`, which may be traced as every other parameter. An image's edge
pixels are repeated.

Sources: Zhang et al., "Designing a Practical Degradation Model for Deep Blind
Image Super-Resolution" (BSRGAN), 2021, section 3.1; Wang et al., "Real-ESRGAN",
2021, sections 3.1 (Gaussian and plateau-shaped kernels) and 3.3 (sinc filter).
"""

import jax
import jax.numpy as jnp
import numpy as np

from bamjax.errors import UserError

Number = jax.Array | float
Size = jax.Array | int
# The largest that both papers use.
MAX_SIZE = 21


def gaussian_kernel(
  size: Size,
  sigma_x: Number,
  sigma_y: Number,
  angle: Number = 0.0,
  beta: Number = 1.0,
  *,
  max_size: int = MAX_SIZE,
) -> jax.Array:
  """A Gaussian: isotropic, anisotropic or generalised.

  Args:
    size: side, odd, 1 to `max_size`.
    sigma_x: standard deviation along the first principal axis, in pixels.
    sigma_y: along the second one.
    angle: of the first axis to the image's x axis, in radians; y points down.
    beta: shape of a generalised Gaussian exp(−½ d^β), where d is the squared
      Mahalanobis distance; 1 is a Gaussian.
    max_size: side of the result, odd.
  """
  distance = _distance(sigma_x, sigma_y, angle, max_size)
  return _normalized(jnp.exp(-0.5 * distance**beta), size)


def plateau_kernel(
  size: Size,
  sigma_x: Number,
  sigma_y: Number,
  angle: Number = 0.0,
  beta: Number = 1.0,
  *,
  max_size: int = MAX_SIZE,
) -> jax.Array:
  """A plateau-shaped kernel 1 / (1 + d^β).

  Args:
    size: side, odd, 1 to `max_size`.
    sigma_x: scale of the distance along the first principal axis, in pixels.
    sigma_y: along the second one.
    angle: of the first axis to the image's x axis, in radians; y points down.
    beta: steepness β; d is the squared Mahalanobis distance.
    max_size: side of the result, odd.
  """
  distance = _distance(sigma_x, sigma_y, angle, max_size)
  return _normalized(1 / (1 + distance**beta), size)


def sinc_kernel(
  size: Size, cutoff: Number, *, max_size: int = MAX_SIZE
) -> jax.Array:
  """The circular low-pass filter, whose ringing looks like sharpening.

  Args:
    size: side, odd, 1 to `max_size`.
    cutoff: in radians per pixel, above 0, at most π.
    max_size: side of the result, odd.
  """
  y, x = _offsets(max_size)
  radius = np.sqrt(x**2 + y**2)
  centre = radius == 0
  radius = np.where(centre, 1, radius)
  values = _bessel_j1(cutoff * radius) / radius
  return _normalized(jnp.where(centre, cutoff / 2, values), size)


def _bessel_j1(x):
  """Bessel's function of order 1, up to x = 50: a mean over a circle."""
  # Exact but for J₉₅(x) and beyond, which vanish here.
  angle = (2 * np.pi * np.arange(96) / 96).astype(np.float32)
  return jnp.mean(jnp.cos(angle - x[..., None] * np.sin(angle)), -1)


def _offsets(max_size):
  """Rows and columns from the centre."""
  check_size(max_size)
  at = np.arange(max_size, dtype=np.float32) - max_size // 2
  return at[:, None], at[None, :]


def _distance(sigma_x, sigma_y, angle, max_size):
  """Squared Mahalanobis distance of each pixel from the centre."""
  y, x = _offsets(max_size)
  along = jnp.cos(angle) * x + jnp.sin(angle) * y
  across = jnp.cos(angle) * y - jnp.sin(angle) * x
  return (along / sigma_x) ** 2 + (across / sigma_y) ** 2


def _normalized(values, size):
  if isinstance(size, int):
    check_size(size, values.shape[0])
  y, x = _offsets(values.shape[0])
  inside = np.maximum(abs(y), abs(x)) <= size // 2
  values = jnp.where(inside, values, 0)
  return values / jnp.sum(values)


def check_size(size: int, max_size: int | None = None) -> None:
  """Raises UserError unless a kernel's side is odd, positive and not too large.

  Args:
    size: side.
    max_size: largest side; None: any.
  """
  if size < 1 or size % 2 == 0:
    raise UserError(
      f"a blur kernel's side must be odd and positive, not {size}"
    )
  if max_size is not None and size > max_size:
    raise UserError(f"a blur kernel of {size} pixels: at most {max_size}")


def blur(image: jax.Array, kernel: jax.Array) -> jax.Array:
  """Convolves an image with any kernel, by FFT.

  On a CPU, a kernel per sample as a convolution takes 50 times as long.

  Args:
    image: C×H×W.
    kernel: k×k, k odd.

  Returns:
    C×H×W float32.

  Raises:
    UserError: the kernel's side is even, or the image smaller than half of it.
  """
  size = kernel.shape[0]
  padded = _padded(image, size)
  height, width = padded.shape[1:]
  # What wraps around reaches only the padding, which is cut off.
  spectrum = jnp.fft.rfft2(padded)
  response = jnp.fft.rfft2(kernel, (height, width))
  blurred = jnp.fft.irfft2(spectrum * response, (height, width))
  return blurred[:, size - 1 :, size - 1 :]


def gaussian_blur(
  image: jax.Array,
  sigma: Number,
  size: Size = MAX_SIZE,
  *,
  max_size: int = MAX_SIZE,
) -> jax.Array:
  """Blurs by an isotropic Gaussian, axis by axis.

  Args:
    image: C×H×W.
    sigma: standard deviation in pixels, above 0.
    size: side of the kernel, odd, 1 to `max_size`.
    max_size: largest side.

  Returns:
    C×H×W float32.

  Raises:
    UserError: the kernel's side is even, or the image smaller than half of it.
  """
  if isinstance(size, int):
    check_size(size, max_size)
  padded = _padded(image, max_size)
  at = np.arange(max_size, dtype=np.float32) - max_size // 2
  taps = jnp.where(abs(at) <= size // 2, jnp.exp(-0.5 * (at / sigma) ** 2), 0)
  taps = taps / jnp.sum(taps)
  height, width = image.shape[1:]
  rows = sum(taps[i] * padded[:, i : i + height] for i in range(max_size))
  return sum(taps[i] * rows[:, :, i : i + width] for i in range(max_size))


def check_image(height: int, width: int, size: int) -> None:
  """Raises UserError unless an image is large enough for a kernel's side."""
  if min(height, width) <= size // 2:
    raise UserError(
      f"an image or patch of {width}×{height} is too small for a blur kernel"
      f" of {size}×{size}: each side needs more than {size // 2} pixels"
    )


def _padded(image, size):
  """Repeats the edge of an image by half a kernel."""
  check_size(size)
  check_image(image.shape[1], image.shape[2], size)
  pad = (size // 2, size // 2)
  return jnp.pad(image.astype(jnp.float32), ((0, 0), pad, pad), mode="edge")
