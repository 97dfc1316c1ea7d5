"""JPEG encoding and decoding in JAX, bit for bit as in libjpeg(-turbo).

Entropy coding loses nothing and is left out. The encoder and decoder are those
of Pillow's defaults: integer DCT, "fancy" upsampling, baseline tables.

Source: ITU-T T.81; libjpeg 6b, whose results libjpeg-turbo keeps.
"""

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from bamjax.data.degradation import jpeg_color
from bamjax.data.degradation import jpeg_transform
from bamjax.errors import UserError

Size = jax.Array | int
SUBSAMPLINGS = ("4:4:4", "4:2:0")
# Upsampling of libjpeg differs below.
SMALLEST = 8
# Side of the blocks that 4:2:0 codes together.
GRID = 16
# ITU-T T.81, tables K.1 (luma) and K.2 (chroma).
_LUMA = """
  16 11 10 16  24  40  51  61
  12 12 14 19  26  58  60  55
  14 13 16 24  40  57  69  56
  14 17 22 29  51  87  80  62
  18 22 37 56  68 109 103  77
  24 35 55 64  81 104 113  92
  49 64 78 87 103 121 120 101
  72 92 95 98 112 100 103  99
"""
_CHROMA = """
  17 18 24 47 99 99 99 99
  18 21 26 66 99 99 99 99
  24 26 56 99 99 99 99 99
  47 66 99 99 99 99 99 99
  99 99 99 99 99 99 99 99
  99 99 99 99 99 99 99 99
  99 99 99 99 99 99 99 99
  99 99 99 99 99 99 99 99
"""
_BASE = np.array([_LUMA.split(), _CHROMA.split()], np.int32).reshape(2, 8, 8)


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
  planes = jpeg_color.to_ycc(levels)
  y = _lossy(planes[:1], luma)[0]
  if subsampling == "4:2:0":
    # Columns are padded before chroma is halved, rows after it, as in libjpeg.
    planes = _pad(_pad(planes, 1, 2), 2, 16)
    halved = jax.vmap(jpeg_color.halve)(planes[1:])
    half = [-(-side // 2) for side in filled or (height, width)]
    if filled:
      halved = _with_edge(halved, 1, half[0])
    halved = _lossy(halved, chroma)
    if filled:
      # What is doubled next to the edge repeats it, and no coded padding.
      halved = _with_edge(_with_edge(halved, 1, half[0]), 2, half[1])
    else:
      halved = halved[:, :, : half[1]]
    cb, cr = jax.vmap(jpeg_color.double)(halved)[:, :height, :width]
  else:
    cb, cr = _lossy(planes[1:], chroma)
  return jpeg_color.to_rgb(y, cb, cr).astype(jnp.float32) / 255


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
  blocks = jpeg_transform.to_blocks(padded.reshape(-1, shape[2]))
  coefficients = jpeg_transform.forward(blocks)
  table = table[:, :, None]
  # Transformed values are 8 times too large. Halves are rounded away from 0.
  step = jnp.broadcast_to(8 * table, coefficients.shape)
  level = lax.div(jnp.abs(coefficients) + 4 * table, step)
  level = jnp.where(coefficients < 0, -level, level)
  restored = jpeg_transform.inverse(level * table)
  planes = jpeg_transform.from_blocks(restored, count * shape[1], shape[2])
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
