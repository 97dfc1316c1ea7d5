"""Bicubic resizing: MATLAB's `imresize`, pixel for pixel, and Pillow's."""

from fractions import Fraction
import functools

import numpy as np
from PIL import Image


def mod_crop(image: np.ndarray, scale: int) -> np.ndarray:
  """Crops H×W×… at the bottom and the right to multiples of `scale`."""
  h, w = image.shape[:2]
  return image[: h - h % scale, : w - w % scale]


def downscale(image: np.ndarray, scale: int) -> np.ndarray:
  """MATLAB's bicubic `imresize(image, 1/scale)`, antialiased.

  Args:
    image: H×W or H×W×C, uint8 or floating-point; H and W are multiples of
      `scale`.
    scale: integer factor.

  Returns:
    (H/scale)×(W/scale)(×C), same dtype. uint8 is rounded after each axis, as in
    MATLAB; floating-point images are neither rounded nor clipped.
  """
  return _imresize(image, Fraction(1, scale))


def upscale(image: np.ndarray, scale: int) -> np.ndarray:
  """MATLAB's bicubic `imresize(image, scale)`.

  Args:
    image: H×W or H×W×C, uint8 or floating-point.
    scale: integer factor s.

  Returns:
    sH×sW(×C), same dtype; rounded as in `downscale`.
  """
  return _imresize(image, Fraction(scale))


def pillow_bicubic(image: np.ndarray, height: int, width: int) -> np.ndarray:
  """Pillow's bicubic resizing: H×W×3 uint8 → height×width×3 uint8."""
  resized = Image.fromarray(image).resize(
    (width, height), Image.Resampling.BICUBIC
  )
  return np.asarray(resized)


def _imresize(image: np.ndarray, factor: Fraction) -> np.ndarray:
  """Resizes the height, then the width; uint8 is rounded half up after each."""
  dtype = image.dtype
  if dtype != np.uint8 and not np.issubdtype(dtype, np.floating):
    raise TypeError(f"an image must be uint8 or floating-point, not {dtype}")
  for axis in (0, 1):
    indices, weights = _taps(image.shape[axis], factor)
    # One tap at a time: memory stays near that of the image.
    out = np.zeros(())
    for i, w in zip(indices.T, weights.T, strict=True):
      w = w.reshape([-1 if d == axis else 1 for d in range(image.ndim)])
      out = out + w * np.take(image, i, axis=axis)
    if dtype == np.uint8:
      out = np.floor(np.clip(out, 0, 255) + 0.5)
    image = out.astype(dtype)
  return image


def _cubic(x: np.ndarray) -> np.ndarray:
  """Keys' cubic kernel, a = −0.5."""
  x = np.abs(x)
  near = 1.5 * x**3 - 2.5 * x**2 + 1
  far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
  return np.where(x <= 1, near, np.where(x <= 2, far, 0))


@functools.lru_cache(maxsize=64)
def _taps(size: int, factor: Fraction) -> tuple[np.ndarray, np.ndarray]:
  """Source indices and weights along one axis, each outputs × taps."""
  stretch = max(1.0, float(1 / factor))  # antialiasing widens the kernel
  out = -(-size * factor.numerator // factor.denominator)
  centre = (np.arange(out) + 0.5) / float(factor) - 0.5
  taps = int(np.ceil(4 * stretch)) + 2
  indices = np.floor(centre - 2 * stretch).astype(int)[:, None] + np.arange(
    taps
  )
  weights = _cubic((centre[:, None] - indices) / stretch)
  weights /= weights.sum(axis=1, keepdims=True)
  # Symmetric padding: … 1 0 | 0 1 … n−1 | n−1 n−2 …
  mirror = np.concatenate([np.arange(size), np.arange(size)[::-1]])
  return mirror[indices % (2 * size)], weights
