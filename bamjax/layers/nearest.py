"""Convolution of an image that is first enlarged by repeating its pixels.

An output pixel sees only the pixels that its taps fall on, several taps on the
same. The factor² outputs of an input pixel are therefore a convolution of the
small image, with sums of taps as its kernel: no enlarged image is written, and
the rows of the matrix product are wider (docs/performance.md).
"""

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np


def enlarge(x: jax.Array, factor: int) -> jax.Array:
  """Repeats pixels: N×H×W×C → N×fH×fW×C."""
  for axis in (1, 2) if factor > 1 else ():
    x = jnp.repeat(x, factor, axis)
  return x


def fold(kernel: jax.Array, factor: int) -> jax.Array:
  """The kernel that convolves the image before it is enlarged.

  Args:
    kernel: k×k×C_in×C_out, k odd.
    factor: how many times the image is enlarged, f.

  Returns:
    m×m×C_in×(f²·C_out), m odd, dtype of `kernel`; its output channels are
    ordered (row offset, column offset, output channel).
  """
  size, _, depth, features = kernel.shape
  sums = jnp.asarray(_sums(size, factor), kernel.dtype)
  # Sums of the weights themselves, whatever a GPU's default precision is.
  kernel = jnp.einsum(
    "rki,slj,ijcf->klcrsf",
    *(sums, sums, kernel),
    precision=lax.Precision.HIGHEST,
  )
  return kernel.reshape(*kernel.shape[:2], depth, factor**2 * features)


def interleave(x: jax.Array, factor: int) -> jax.Array:
  """Rearranges the channels that `fold` makes to factor×factor pixels.

  Maps N×H×W×(f²·C) to N×fH×fW×C. `bamjax.layers.pixel_shuffle` differs: its
  channels are ordered (c, row offset, column offset).
  """
  n, h, w, c = x.shape
  c //= factor**2
  x = x.reshape(n, h, w, factor, factor, c).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(n, h * factor, w * factor, c)


def _sums(size: int, factor: int) -> np.ndarray:
  """Which taps fall on the same input pixel: f×m×k, of 0 and 1.

  Entry (r, j, i) says whether tap i of the output with offset r sees input
  pixel j, both counted from the first of the kernel.
  """
  half = size // 2
  reach = -(-half // factor)
  sums = np.zeros((factor, 2 * reach + 1, size))
  for offset in range(factor):
    for tap in range(size):
      sums[offset, (offset + tap - half) // factor + reach, tap] = 1
  return sums
