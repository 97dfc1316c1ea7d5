"""Images as data URIs, and maps as colours."""

import base64
import io
from typing import Literal

import matplotlib
from matplotlib.colors import Normalize
from matplotlib.colors import to_hex
import numpy as np
from PIL import Image

OVERVIEW = 1024  # maximum longer side of a whole image, in pixels
_QUALITY = 88  # WebP quality of whole images
_MAP_QUALITY = 75

# matplotlib's perceptually uniform maps, which colour-blind readers can read.
ColourMap = Literal["inferno", "viridis"]


def colourise(
  plane: np.ndarray, low: float, high: float, name: ColourMap
) -> np.ndarray:
  """Converts H×W values, clipped to [low, high], to H×W×3 uint8 colours."""
  level = Normalize(low, high, clip=True)(plane)
  return matplotlib.colormaps[name](level, bytes=True)[..., :3]


def gradient(name: ColourMap) -> str:
  """Returns the CSS gradient of a colour map, from low to high."""
  colours = matplotlib.colormaps[name](np.linspace(0, 1, 9))
  return f"linear-gradient(90deg, {', '.join(map(to_hex, colours))})"


def shrink(image: np.ndarray, side: int) -> np.ndarray:
  """Shrinks H×W×3 uint8 until its longer side is at most `side` pixels."""
  height, width = image.shape[:2]
  if max(height, width) <= side:
    return image
  factor = side / max(height, width)
  size = (max(1, round(width * factor)), max(1, round(height * factor)))
  small = Image.fromarray(image).resize(size, Image.Resampling.BOX)
  return np.asarray(small)


class EncodedImages:
  """The images of a page, as WebP data URIs with short keys.

  Attributes:
    uris: data URI of each image by key.
  """

  def __init__(self) -> None:
    self.uris: dict[str, str] = {}

  def lossless(self, image: np.ndarray) -> str:
    """Adds an H×W×3 uint8 image exactly; returns its key."""
    return self._add(image, quality=70, lossless=True)

  def whole(self, image: np.ndarray) -> str:
    """Adds an H×W×3 uint8 image, compressed and shrunk to `OVERVIEW`."""
    return self._add(shrink(image, OVERVIEW), quality=_QUALITY)

  def map(self, image: np.ndarray, side: int) -> str:
    """Adds an H×W×3 uint8 smooth map, compressed and shrunk to `side`."""
    return self._add(shrink(image, side), quality=_MAP_QUALITY)

  def _add(
    self, image: np.ndarray, quality: int, lossless: bool = False
  ) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(
      file, "WEBP", quality=quality, lossless=lossless
    )
    key = f"i{len(self.uris)}"
    text = base64.b64encode(file.getvalue()).decode()
    self.uris[key] = f"data:image/webp;base64,{text}"
    return key
