"""Colours and chroma sampling of JPEG in integers, as in libjpeg.

Source: the JFIF specification 1.02 (ITU-T T.871); jccolor.c, jdcolor.c,
jcsample.c and jdsample.c of libjpeg 6b.
"""

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

# Fixed point of 16 bits.
_TO_YCC = np.array(
  [[19595, 38470, 7471], [-11059, -21709, 32768], [32768, -27439, -5329]],
  np.float32,
)
_HALF = 1 << 15
# One less than a half for chroma, or white would leave the range.
_CHROMA = (128 << 16) + _HALF - 1
_OFFSET = np.array([_HALF, _CHROMA, _CHROMA], np.float32)[:, None, None]


def to_ycc(rgb: jax.Array) -> jax.Array:
  """Converts 3×H×W RGB, whole float32 of 0 to 255, to int32 Y, Cb, Cr."""
  # All sums are below 2²⁴, so that float32 is exact. A matrix product is also
  # where XLA stops fusing: it would repeat all of RGB's history for each term.
  total = jnp.einsum(
    "ij,jhw->ihw", _TO_YCC, rgb, precision=lax.Precision.HIGHEST
  )
  return jnp.floor((total + _OFFSET) / 2**16).astype(jnp.int32)


def to_rgb(y: jax.Array, cb: jax.Array, cr: jax.Array) -> jax.Array:
  """Converts int32 planes of H×W to 3×H×W RGB, clipped to 0 to 255."""
  cb, cr = cb - 128, cr - 128
  red = y + ((91881 * cr + _HALF) >> 16)
  green = y + ((-22554 * cb - 46802 * cr + _HALF) >> 16)
  blue = y + ((116130 * cb + _HALF) >> 16)
  return jnp.clip(jnp.stack([red, green, blue]), 0, 255)


def halve(plane: jax.Array) -> jax.Array:
  """Averages 2×2 samples of H×W int32, even sides.

  Halves are rounded down in even columns of the result and up in odd ones, so
  that no bias results.
  """
  height, width = plane.shape
  total = plane.reshape(height // 2, 2, width // 2, 2).sum((1, 3))
  return (total + 1 + np.arange(width // 2, dtype=np.int32) % 2) >> 2


def double(plane: jax.Array) -> jax.Array:
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
