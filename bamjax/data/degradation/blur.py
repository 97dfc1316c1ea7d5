"""Blurring one image by a traced kernel; its edge pixels are repeated."""

import jax
import jax.numpy as jnp
import numpy as np

from bamjax.data.degradation import blur_kernels
from bamjax.errors import UserError


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
  sigma: blur_kernels.Number,
  size: blur_kernels.Size = blur_kernels.MAX_SIZE,
  *,
  max_size: int = blur_kernels.MAX_SIZE,
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
    blur_kernels.check_size(size, max_size)
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
  blur_kernels.check_size(size)
  check_image(image.shape[1], image.shape[2], size)
  pad = (size // 2, size // 2)
  return jnp.pad(image.astype(jnp.float32), ((0, 0), pad, pad), mode="edge")
