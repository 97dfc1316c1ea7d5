"""JPEG encoding and decoding in JAX, bit for bit as in libjpeg(-turbo).

Entropy coding loses nothing and is left out. The encoder and decoder are those
of Pillow's defaults: integer DCT, "fancy" upsampling, baseline tables.

libjpeg's default transform ("islow") computes a one-dimensional DCT along each
axis, in fixed point of 13 bits, and rounds after each. Its butterflies are
exact, so that one integer matrix gives the same bits.

Sources: ITU-T T.81; the JFIF specification 1.02 (ITU-T T.871); libjpeg 6b,
whose results libjpeg-turbo keeps (jccolor.c, jdcolor.c, jcsample.c, jdsample.c,
jfdctint.c and jidctint.c); Loeffler, Ligtenberg and Moschytz, "Practical fast
1-D DCT algorithms with 11 multiplications", 1989.
"""

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from bamjax.errors import UserError

Size = jax.Array | int
SUBSAMPLINGS = ("4:4:4", "4:2:0")
# Upsampling of libjpeg differs below.
SMALLEST = 8
# Side of the blocks that 4:2:0 codes together.
GRID = 16
# ITU-T T.81, tables K.1 (luma) and K.2 (chroma).
_LUMA_TABLE = """
  16 11 10 16  24  40  51  61
  12 12 14 19  26  58  60  55
  14 13 16 24  40  57  69  56
  14 17 22 29  51  87  80  62
  18 22 37 56  68 109 103  77
  24 35 55 64  81 104 113  92
  49 64 78 87 103 121 120 101
  72 92 95 98 112 100 103  99
"""
_CHROMA_TABLE = """
  17 18 24 47 99 99 99 99
  18 21 26 66 99 99 99 99
  24 26 56 99 99 99 99 99
  47 66 99 99 99 99 99 99
  99 99 99 99 99 99 99 99
  99 99 99 99 99 99 99 99
  99 99 99 99 99 99 99 99
  99 99 99 99 99 99 99 99
"""
_BASE = np.array(
  [_LUMA_TABLE.split(), _CHROMA_TABLE.split()], np.int32
).reshape(2, 8, 8)

# Colours, in fixed point of 16 bits.
_TO_YCC = np.array(
  [[19595, 38470, 7471], [-11059, -21709, 32768], [32768, -27439, -5329]],
  np.float32,
)
_HALF = 1 << 15
# One less than a half for chroma, or white would leave the range.
_CHROMA_OFFSET = (128 << 16) + _HALF - 1
_OFFSET = np.array([_HALF, _CHROMA_OFFSET, _CHROMA_OFFSET], np.float32)[
  :, None, None
]

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


def quantization_tables(quality: jax.Array | int) -> jax.Array:
  """The tables that libjpeg derives from a quality.

  Args:
    quality: int32 scalar, 1 to 100.

  Returns:
    2×8×8 int32, luma and chroma, 1 to 255.
  """
  quality = jnp.asarray(quality).astype(jnp.int32)
  percent = jnp.where(quality < 50, 5000 // quality, 200 - 2 * quality)
  return jnp.clip((_BASE * percent + 50) // 100, 1, 255)


def jpeg(
  image: jax.Array,
  quality: jax.Array | int,
  subsampling: str = "4:2:0",
  filled: tuple[Size, Size] | None = None,
) -> jax.Array:
  """Encodes and decodes one image.

  Sides of any length are padded as libjpeg pads them: the last row and column
  are repeated up to whole blocks, and cut off again.

  Args:
    image: 3×H×W in [0, 1], rounded to 256 levels first; sides of at least 8.
    quality: scalar, 1 to 100; its fraction is dropped.
    subsampling: "4:2:0" (chroma halved along each axis) or "4:4:4".
    filled: height and width, at least 8, of the image within its array, so that
      images of several sizes share a program; beyond, the array repeats the
      last row and column. None: all of it.

  Returns:
    3×H×W float32 in [0, 1], of 256 levels; undefined beyond `filled`.

  Raises:
    UserError: the subsampling is unknown, a quality that is not traced out of
      range, or the image smaller than 8×8.
  """
  _, height, width = image.shape
  check_subsampling(subsampling)
  if isinstance(quality, int) and not 1 <= quality <= 100:
    raise UserError(f"JPEG quality must be 1 to 100, not {quality}")
  check_image(height, width)
  levels = jnp.floor(jnp.clip(image, 0, 1) * 255 + 0.5)
  luma, chroma = quantization_tables(quality)
  planes = _to_ycc(levels)
  y = _lossy(planes[:1], luma)[0]
  if subsampling == "4:2:0":
    # Columns are padded before chroma is halved, rows after it, as in libjpeg.
    planes = _pad(_pad(planes, 1, 2), 2, 16)
    halved = jax.vmap(_halve)(planes[1:])
    half = [-(-side // 2) for side in filled or (height, width)]
    if filled:
      halved = _with_edge(halved, 1, half[0])
    halved = _lossy(halved, chroma)
    if filled:
      # What is doubled next to the edge repeats it, and no coded padding.
      halved = _with_edge(_with_edge(halved, 1, half[0]), 2, half[1])
    else:
      halved = halved[:, :, : half[1]]
    cb, cr = jax.vmap(_double)(halved)[:, :height, :width]
  else:
    cb, cr = _lossy(planes[1:], chroma)
  return _to_rgb(y, cb, cr).astype(jnp.float32) / 255


def jpeg_at(
  image: jax.Array,
  quality: jax.Array | int,
  corner: jax.Array,
  subsampling: str = "4:2:0",
) -> jax.Array:
  """Encodes and decodes a patch as a part of a larger image.

  The blocks of an image begin at its top left, those of a patch anywhere. What
  surrounds the patch is its mirror image.

  Args:
    image: 3×H×W in [0, 1], rounded to 256 levels first; sides of at least 8.
    quality: scalar, 1 to 100; its fraction is dropped.
    corner: two int32, row and column of the patch in the larger image; they
      count modulo 16.
    subsampling: "4:2:0" or "4:4:4".

  Returns:
    3×H×W float32 in [0, 1], of 256 levels.
  """
  corner = corner % GRID
  channels, height, width = image.shape
  border = (GRID - 1, GRID - 1)
  padded = jnp.pad(image, ((0, 0), border, border), mode="symmetric")
  larger = lax.dynamic_slice(
    padded,
    (0, GRID - 1 - corner[0], GRID - 1 - corner[1]),
    (channels, height + GRID - 1, width + GRID - 1),
  )
  coded = jpeg(larger, quality, subsampling)
  return lax.dynamic_slice(coded, (0, corner[0], corner[1]), image.shape)


def check_image(height: int, width: int) -> None:
  """Raises UserError if an image is too small."""
  if min(height, width) < SMALLEST:
    raise UserError(
      f"an image of {width}×{height} is too small for JPEG: each side needs at"
      f" least {SMALLEST} pixels"
    )


def check_subsampling(subsampling: str) -> None:
  """Raises UserError unless chroma can be sampled like that."""
  if subsampling not in SUBSAMPLINGS:
    raise UserError(
      f"unknown chroma subsampling {subsampling!r}: use one of"
      f" {', '.join(SUBSAMPLINGS)}"
    )


def _lossy(planes, table):
  """Transforms, quantises and restores P×H×W int32 planes, 0 to 255."""
  count, height, width = planes.shape
  padded = _pad(_pad(planes, 1, 8), 2, 8) - 128
  shape = padded.shape
  blocks = _to_blocks(padded.reshape(-1, shape[2]))
  coefficients = _forward(blocks)
  table = table[:, :, None]
  # Transformed values are 8 times too large. Halves are rounded away from 0.
  step = jnp.broadcast_to(8 * table, coefficients.shape)
  level = lax.div(jnp.abs(coefficients) + 4 * table, step)
  level = jnp.where(coefficients < 0, -level, level)
  restored = _inverse(level * table)
  planes = _from_blocks(restored, count * shape[1], shape[2])
  planes = planes.reshape(shape)[:, :height, :width]
  return jnp.clip(planes + 128, 0, 255)


def _with_edge(planes, axis, size):
  """Repeats the last row or column of a size that is traced."""
  at = jnp.minimum(jnp.arange(planes.shape[axis]), size - 1)
  return jnp.take(planes, at, axis)


def _pad(planes, axis, multiple):
  """Repeats the last row or column up to a multiple."""
  pad = [(0, 0)] * planes.ndim
  pad[axis] = (0, -planes.shape[axis] % multiple)
  return jnp.pad(planes, pad, mode="edge")


def _to_ycc(rgb: jax.Array) -> jax.Array:
  """Converts 3×H×W RGB, whole float32 of 0 to 255, to int32 Y, Cb, Cr."""
  # All sums are below 2²⁴, so that float32 is exact. A matrix product is also
  # where XLA stops fusing: it would repeat all of RGB's history for each term.
  total = jnp.einsum(
    "ij,jhw->ihw", _TO_YCC, rgb, precision=lax.Precision.HIGHEST
  )
  return jnp.floor((total + _OFFSET) / 2**16).astype(jnp.int32)


def _to_rgb(y: jax.Array, cb: jax.Array, cr: jax.Array) -> jax.Array:
  """Converts int32 planes of H×W to 3×H×W RGB, clipped to 0 to 255."""
  cb, cr = cb - 128, cr - 128
  red = y + ((91881 * cr + _HALF) >> 16)
  green = y + ((-22554 * cb - 46802 * cr + _HALF) >> 16)
  blue = y + ((116130 * cb + _HALF) >> 16)
  return jnp.clip(jnp.stack([red, green, blue]), 0, 255)


def _halve(plane: jax.Array) -> jax.Array:
  """Averages 2×2 samples of H×W int32, even sides.

  Halves are rounded down in even columns of the result and up in odd ones, so
  that no bias results.
  """
  height, width = plane.shape
  total = plane.reshape(height // 2, 2, width // 2, 2).sum((1, 3))
  return (total + 1 + np.arange(width // 2, dtype=np.int32) % 2) >> 2


def _double(plane: jax.Array) -> jax.Array:
  """Doubles both sides of h×w int32 by a triangle filter.

  libjpeg calls it fancy upsampling: each sample is ¾ of the nearest and ¼ of
  the next one, along each axis; samples at the edge count twice.
  """
  above, below = _neighbours(plane, 0)
  rows = jnp.stack([3 * plane + above, 3 * plane + below], 1)
  rows = rows.reshape(-1, plane.shape[1])
  left, right = _neighbours(rows, 1)
  both = jnp.stack([3 * rows + left + 8, 3 * rows + right + 7], -1)
  return both.reshape(rows.shape[0], -1) >> 4


def _neighbours(plane, axis):
  """The samples before and after each along an axis."""
  size = plane.shape[axis]
  at = np.arange(size)
  before = jnp.take(plane, np.maximum(at - 1, 0), axis)
  after = jnp.take(plane, np.minimum(at + 1, size - 1), axis)
  return before, after


def _to_blocks(plane: jax.Array) -> jax.Array:
  """Rearranges H×W, multiples of 8, as 8×8×(blocks), rows of blocks first."""
  height, width = plane.shape
  blocks = plane.reshape(height // 8, 8, width // 8, 8)
  return blocks.transpose(1, 3, 0, 2).reshape(8, 8, -1)


def _from_blocks(blocks: jax.Array, height: int, width: int) -> jax.Array:
  """Undoes `_to_blocks`."""
  blocks = blocks.reshape(8, 8, height // 8, width // 8)
  return blocks.transpose(2, 0, 3, 1).reshape(height, width)


def _forward(blocks: jax.Array) -> jax.Array:
  """Transforms blocks of samples.

  Args:
    blocks: 8×8×N int32, −128 to 127.

  Returns:
    8×8×N int32, 8 times the orthonormal DCT-II.
  """
  rows = _along(_MATRIX, blocks, 1, _CONSTANT_BITS - _PASS_BITS)
  return _along(_MATRIX, rows, 0, _CONSTANT_BITS + _PASS_BITS)


def _inverse(coefficients: jax.Array) -> jax.Array:
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
