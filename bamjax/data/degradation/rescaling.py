"""Resizing by traced factors: one matrix product along each axis.

An image may fill only the top left of its array, and so may the result: arrays
have static shapes, while the sizes within them are traced. The output's pixel i
covers the input from i·r to (i+1)·r, where r is the quotient of the two sizes:
edges fall on edges.

Without antialiasing, results are those of OpenCV's `resize` (INTER_AREA,
INTER_LINEAR, INTER_CUBIC with a = −0.75; the latter two equal PyTorch's), which
BSRGAN uses. With it, bilinear and bicubic (a = −0.5) are those of Pillow and of
PyTorch's `antialias=True`.
"""

import jax
from jax import lax
import jax.numpy as jnp

from bamjax.errors import UserError

METHODS = ("area", "bilinear", "bicubic")
Size = jax.Array | int


def scaled_size(size: Size, factor: jax.Array | float) -> jax.Array:
  """The side of an image resized by a factor: int32, rounded, at least 1."""
  return jnp.maximum(jnp.floor(size * factor + 0.5).astype(jnp.int32), 1)


def rescale(
  image: jax.Array,
  shape: tuple[int, int],
  method: str | jax.Array,
  *,
  source_size: tuple[Size, Size] | None = None,
  target_size: tuple[Size, Size] | None = None,
  antialias: bool = False,
) -> jax.Array:
  """Resizes one image.

  Args:
    image: C×H×W.
    shape: h and w of the result's array.
    method: one of `METHODS`, or its index as a traced int32 scalar.
    source_size: height and width that the image fills; None: all of H×W.
    target_size: those to fill, at most h×w; None: all of it. What is beyond
      repeats the last row and column.
    antialias: whether bilinear and bicubic widen their kernels to shrink.

  Returns:
    C×h×w float32, not clipped.

  Raises:
    UserError: the method is unknown.
  """
  sources: tuple[Size, ...] = source_size or image.shape[1:]
  targets: tuple[Size, ...] = target_size or shape
  rows, columns = (
    resizing_weights(
      method,
      image.shape[1 + axis],
      shape[axis],
      sources[axis],
      targets[axis],
      antialias=antialias,
    )
    for axis in (0, 1)
  )
  image = image.astype(jnp.float32)
  image = jnp.matmul(rows, image, precision=lax.Precision.HIGHEST)
  return jnp.matmul(image, columns.T, precision=lax.Precision.HIGHEST)


def resizing_weights(
  method: str | jax.Array,
  source: int,
  target: int,
  source_size: Size,
  target_size: Size,
  *,
  antialias: bool = False,
) -> jax.Array:
  """The matrix that resizes one axis.

  Args:
    method: one of `METHODS`, or its index as a traced int32 scalar.
    source: length of the input's axis.
    target: length of the output's axis.
    source_size: how many of the input are filled, from the first.
    target_size: how many of the output are to be.
    antialias: see `rescale`.

  Returns:
    target×source float32, each row's sum 1.
  """
  ratio = jnp.asarray(source_size, jnp.float32) / target_size
  at = jnp.minimum(jnp.arange(target), target_size - 1).astype(jnp.float32)
  pixels = jnp.arange(source, dtype=jnp.float32)
  last = jnp.asarray(source_size, jnp.float32) - 1
  centre = (at + 0.5) * ratio - 0.5

  def weights(name: str) -> jax.Array:
    if name == "area":
      return _overlaps(at, ratio, pixels, last)
    if antialias:
      kernel = _triangle if name == "bilinear" else _cubic(-0.5)
      return _stretched(kernel, centre, ratio, pixels, last)
    if name == "bilinear":
      return _taps(_triangle, 2, centre, pixels, last)
    return _taps(_cubic(-0.75), 4, centre, pixels, last)

  if isinstance(method, str):
    if method not in METHODS:
      raise UserError(
        f"unknown way of resizing {method!r}: use one of {', '.join(METHODS)}"
      )
    return weights(method)
  return lax.select_n(method, *map(weights, METHODS))


def _overlaps(at, ratio, pixels, last):
  """How much of an output pixel each input pixel covers."""
  low = (at * ratio)[:, None]
  high = jnp.minimum(low + ratio, pixels + 1)
  covered = jnp.maximum(high - jnp.maximum(low, pixels), 0)
  return _normalized(covered, pixels, last)


def _stretched(kernel, centre, ratio, pixels, last):
  """A kernel as wide as an output pixel; nothing is beyond the edge."""
  away = (pixels - centre[:, None]) / jnp.maximum(ratio, 1)
  return _normalized(kernel(away), pixels, last)


def _normalized(weights, pixels, last):
  weights = jnp.where(pixels <= last, weights, 0)
  return weights / jnp.sum(weights, axis=1, keepdims=True)


def _taps(kernel, count, centre, pixels, last):
  """Interpolation between the nearest pixels; the edge repeats beyond it."""
  first = jnp.floor(centre) - (count // 2 - 1)
  total = jnp.zeros((len(centre), len(pixels)), jnp.float32)
  for i in range(count):
    place = jnp.clip(first + i, 0, last)[:, None]
    weight = kernel(first + i - centre)[:, None]
    total += jnp.where(place == pixels, weight, 0)
  return total


def _triangle(x):
  return jnp.maximum(1 - jnp.abs(x), 0)


def _cubic(a):
  """Keys' kernel of a parameter."""

  def kernel(x: jax.Array) -> jax.Array:
    x = jnp.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return jnp.where(x <= 1, near, jnp.where(x < 2, far, 0))

  return kernel
