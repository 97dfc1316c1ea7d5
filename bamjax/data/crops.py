"""The paper's five crops of each image."""

from collections.abc import Callable
import functools
import hashlib
import logging

import jax
import numpy as np

from bamjax.data.cache import Decoded
from bamjax.data.sampling import LEVELS
from bamjax.data.sources import ImagePair
from bamjax.data.sources import Pair
from bamjax.errors import UserError
from bamjax.images import resize

_logger = logging.getLogger(__name__)

# Top row, left column, height and width, in LR pixels.
Place = tuple[int, int, int, int]


def five_crops(height: int, width: int) -> list[Place]:
  """Returns crops of half the height and width: the corners and the center.

  Source: paper, "Implementation details".

  Args:
    height: height of the LR image in pixels.
    width: width of the LR image in pixels.
  """
  h, w = height // 2, width // 2
  bottom, right = height - h, width - w
  corners = [(0, 0), (0, right), (bottom, 0), (bottom, right)]
  return [(y, x, h, w) for y, x in [*corners, (bottom // 2, right // 2)]]


class CropStore:
  """Crops of decoded images.

  Attributes:
    decoded: the images.
    places: (crops, 3) int32: each crop's image, and its top row and left
      column in LR pixels.
    sizes: (crops, 2) int32: each crop's height and width in LR pixels.
    scale: upscaling factor.
    smaller: HR at half and quarter size, as pairs, for `own_window`; None if it
      has not been made.
  """

  smaller: Decoded | None = None

  def __init__(self, decoded: Decoded, patch: int):
    """Computes the crops.

    An image whose crops would be smaller than a patch becomes one crop. Images
    that cannot be read or are smaller than a patch are skipped with a warning.

    Args:
      decoded: the images.
      patch: side of the LR patches in pixels.

    Raises:
      UserError: no image is left.
    """
    left_out = list(decoded.left_out)
    found = []
    for i, (lr, _) in enumerate(decoded.pairs):
      height, width = lr.shape[:2]
      if min(height, width) < patch:
        left_out.append(
          f"{decoded.names[i]}: its LR, {width}×{height}, is smaller than a"
          f" patch of {patch}×{patch}"
        )
        continue
      crops = five_crops(height, width)
      if min(crops[0][2:]) < patch:
        crops = [(0, 0, height, width)]
      found += [(i, *place) for place in crops]
    for line in left_out:
      _logger.warning("skipped: %s", line)
    if not found:
      raise UserError(
        f"no usable training image: all {len(left_out)} are unreadable or"
        f" smaller than a patch of {patch}×{patch} LR pixels; see the warnings"
        " above, or lower --config.data.patch"
      )
    table = np.array(found, np.int32)
    self.decoded = decoded
    self.places = np.ascontiguousarray(table[:, :3])
    self.sizes = np.ascontiguousarray(table[:, 3:])
    lr, hr = decoded.pairs[table[0, 0]]
    self.scale = hr.shape[0] // lr.shape[0]

  @functools.cached_property
  def sizes_on_cpu(self) -> jax.Array:
    """`sizes` on the CPU device; copied once, as they can be millions."""
    return jax.device_put(self.sizes, jax.local_devices(backend="cpu")[0])

  def window(self, crop: int, y: int, x: int, patch: int) -> Pair:
    """Returns views of a patch.

    Args:
      crop: index of the crop.
      y: top row within the crop, in LR pixels.
      x: left column within the crop, in LR pixels.
      patch: side p of the LR patch in pixels.

    Returns:
      LR, p×p×3, and HR, sp×sp×3, uint8.
    """
    image, top, left = self.places[crop]
    lr, hr = self.decoded.pairs[image]
    y, x, s = top + y, left + x, self.scale
    return (
      lr[y : y + patch, x : x + patch],
      hr[s * y : s * (y + patch), s * x : s * (x + patch)],
    )

  def add_smaller(self, decode: Callable[[list[ImagePair]], Decoded]) -> None:
    """Makes `smaller`: HR, reduced by the bicubic that makes LR.

    Args:
      decode: reads all images, as `cache.decode` does.
    """
    rows = zip(
      *(self.decoded.names, self.decoded.pairs, self.decoded.digests),
      strict=True,
    )
    self.smaller = decode(
      [
        ImagePair(
          name,
          functools.partial(_halved_and_quartered, hr),
          f"half and quarter of {digest}",
        )
        for name, (_, hr), digest in rows
      ]
    )

  def own_pixels(self, image: int) -> tuple[np.ndarray, ...]:
    """Returns an image's own pixels at full, half and quarter size, uint8."""
    assert self.smaller is not None
    return self.decoded.pairs[image][1], *self.smaller.pairs[image]

  def own_corners(self, crop: int | np.ndarray) -> np.ndarray:
    """Returns where crops begin in `own_pixels`: (levels, …, 2) int32."""
    corner = self.scale * self.places[crop, 1:]
    return np.stack([corner >> level for level in range(LEVELS)])

  def own_window(
    self, crop: int, level: int, y: int, x: int, patch: int
  ) -> np.ndarray:
    """Returns a view of an LR patch, p×p×3 uint8, of an image's own pixels.

    Args:
      crop: index of the crop.
      level: 0, 1 or 2: full, half or quarter size.
      y: top row within the crop, in pixels of that level.
      x: left column within the crop, likewise.
      patch: side p of the patch in pixels.
    """
    top, left = self.own_corners(crop)[level] + (y, x)
    own = self.own_pixels(self.places[crop, 0])[level]
    return own[top : top + patch, left : left + patch]

  def fingerprint(self) -> str:
    """Returns a SHA-256 hash of the images' names and the crops.

    Together with the seed it determines the samples.
    """
    names = "\n".join(self.decoded.names[i] for i in self.places[:, 0])
    data = names.encode() + self.places.tobytes() + self.sizes.tobytes()
    return hashlib.sha256(data).hexdigest()


def _halved_and_quartered(hr: np.ndarray) -> Pair:
  """HR at half and quarter size; empty if HR is smaller than a pixel of it."""

  def reduced(factor: int) -> np.ndarray:
    cropped = resize.mod_crop(hr, factor)
    return (
      resize.downscale(cropped, factor) if cropped.size else cropped[:0, :0]
    )

  return reduced(2), reduced(4)
