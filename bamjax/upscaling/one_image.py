"""An image with its alpha, upscaled by a network."""

from collections.abc import Callable
import dataclasses

import numpy as np
from scipy import ndimage

from bamjax.images.image_file import ImageData

# `Upscaler`'s call: an image, and what is called with the tiles that are done
# and their number.
Progress = Callable[[int, int], None]
Upscale = Callable[[np.ndarray, Progress | None], np.ndarray]


def upscale_image(
  upscaler: Upscale, image: ImageData, progress: Progress | None = None
) -> ImageData:
  """Upscales an image and its alpha, both by the network.

  For gray images and for alpha, the network gets three equal channels, and the
  mean of the three it returns is kept. Fully transparent pixels take the color
  of the nearest visible pixel first: their own would bleed into the edge.
  Profile, density and EXIF data are kept.

  Args:
    upscaler: maps H×W×3 to sH×sW×3, uint8 or uint16.
    image: the image.
    progress: called with the number of tiles that are done, and of all.
  """
  alpha = image.alpha
  # Nothing that a network could add.
  flat = alpha is None or alpha.min() == alpha.max()
  color = upscaler(
    _visible_color(image), progress if flat else _half(progress, 0)
  )
  if image.gray:
    color = np.broadcast_to(_mean(color)[..., None], color.shape)
  if alpha is not None and flat:
    alpha = np.full(color.shape[:2], alpha.flat[0])
  elif alpha is not None:
    three = np.broadcast_to(alpha[..., None], (*alpha.shape, 3))
    alpha = _mean(upscaler(three, _half(progress, 1)))
  return dataclasses.replace(image, color=color, alpha=alpha)


def _half(progress: Progress | None, which: int) -> Progress | None:
  """What the first or the second of two equal parts calls."""
  if progress is None:
    return None
  return lambda done, count: progress(which * count + done, 2 * count)


def _visible_color(image: ImageData) -> np.ndarray:
  """The color; where fully transparent, that of the nearest visible pixel."""
  if image.alpha is None:
    return image.color
  hidden = image.alpha == 0
  if hidden.all() or not hidden.any():
    return image.color
  nearest = ndimage.distance_transform_edt(
    hidden, return_distances=False, return_indices=True
  )
  return image.color[tuple(nearest)]


def _mean(image: np.ndarray) -> np.ndarray:
  """The rounded mean of three channels, without an array of floats."""
  total = image[..., 0].astype(np.uint32) + image[..., 1] + image[..., 2]
  return ((total + 1) // 3).astype(image.dtype)
