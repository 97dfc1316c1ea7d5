"""The 8×8 DCT of JPEG in integers, bit for bit as in libjpeg.

libjpeg's default transform ("islow") computes a one-dimensional DCT along each
axis, in fixed point of 13 bits, and rounds after each. Its butterflies are
exact, so that one integer matrix gives the same bits.

Source: Loeffler, Ligtenberg and Moschytz, "Practical fast 1-D DCT algorithms
with 11 multiplications", 1989; jfdctint.c and jidctint.c of libjpeg 6b.
"""

import jax
import jax.numpy as jnp
import numpy as np

# √8 · 2¹³ times the orthonormal DCT-II, a frequency a row, as libjpeg's rounded
# constants add up; the right half mirrors the left, negated in odd rows.
_LEFT = np.array(
  [
    [8192, 8192, 8192, 8192],
    [11363, 9633, 6437, 2260],
    [10703, 4433, -4433, -10703],
    [9633, -2259, -11362, -6436],
    [8192, -8192, -8192, 8192],
    [6437, -11362, 2261, 9633],
    [4433, -10704, 10704, -4433],
    [2260, -6436, 9633, -11363],
  ],
  np.int32,
)
_SIGN = np.where(np.arange(8) % 2, -1, 1).astype(np.int32)[:, None]
_MATRIX = np.concatenate([_LEFT, _SIGN * _LEFT[:, ::-1]], axis=1)
_CONSTANT_BITS = 13
# Extra bits that are kept between the two axes.
_PASS_BITS = 2


def to_blocks(plane: jax.Array) -> jax.Array:
  """Rearranges H×W, multiples of 8, as 8×8×(blocks), rows of blocks first."""
  height, width = plane.shape
  blocks = plane.reshape(height // 8, 8, width // 8, 8)
  return blocks.transpose(1, 3, 0, 2).reshape(8, 8, -1)


def from_blocks(blocks: jax.Array, height: int, width: int) -> jax.Array:
  """Undoes `to_blocks`."""
  blocks = blocks.reshape(8, 8, height // 8, width // 8)
  return blocks.transpose(2, 0, 3, 1).reshape(height, width)


def forward(blocks: jax.Array) -> jax.Array:
  """Transforms blocks of samples.

  Args:
    blocks: 8×8×N int32, −128 to 127.

  Returns:
    8×8×N int32, 8 times the orthonormal DCT-II.
  """
  rows = _along(_MATRIX, blocks, 1, _CONSTANT_BITS - _PASS_BITS)
  return _along(_MATRIX, rows, 0, _CONSTANT_BITS + _PASS_BITS)


def inverse(coefficients: jax.Array) -> jax.Array:
  """Transforms blocks of coefficients back.

  Args:
    coefficients: 8×8×N int32, of the orthonormal DCT-II.

  Returns:
    8×8×N int32, not clipped.
  """
  columns = _along(_MATRIX.T, coefficients, 0, _CONSTANT_BITS - _PASS_BITS)
  return _along(_MATRIX.T, columns, 1, _CONSTANT_BITS + _PASS_BITS + 3)


def _along(matrix, blocks, axis, bits):
  """Applies a matrix along an axis, and rounds to a multiple of 2^bits."""
  # Not a matrix product: those of integers are slow, or missing, on some
  # devices, and those of floats are not exact on others.
  shape = (8, 1, 1) if axis == 0 else (1, 8, 1)
  total = sum(
    matrix[:, k].reshape(shape) * jnp.take(blocks, jnp.array([k]), axis)
    for k in range(8)
  )
  return (total + (1 << (bits - 1))) >> bits
