"""Images inside a page: data URIs, each once, and colours of maps."""

import base64
import io

import numpy as np
from PIL import Image

OVERVIEW = 1024  # longer side of a whole image, in pixels, at most
_QUALITY = 88  # of WebP, for whole images
_MAP_QUALITY = 75

# Anchors of matplotlib's colour maps (CC0): in order of lightness, and told
# apart by the colour-blind.
_ANCHORS = {
  "inferno": "000004 1b0c41 4a0c6b 781c6d a52c60 cf4446 ed6925 fb9b06 fcffa4",
  "viridis": "440154 482878 3e4989 31688e 26828e 1f9e89 35b779 6ece58 fde725",
}


def colours(name: str) -> np.ndarray:
  """256×3 uint8 of a colour map, "inferno" or "viridis"."""
  anchors = np.array([list(bytes.fromhex(a)) for a in _ANCHORS[name].split()])
  at = np.linspace(0, len(anchors) - 1, 256)
  planes = [np.interp(at, np.arange(len(anchors)), c) for c in anchors.T]
  return np.round(np.stack(planes, -1)).astype(np.uint8)


def colourise(
  plane: np.ndarray, low: float, high: float, name: str
) -> np.ndarray:
  """Maps H×W in [low, high], clipped, to H×W×3 uint8 of a colour map."""
  level = (plane - low) / max(high - low, np.finfo(np.float32).tiny)
  return colours(name)[np.round(255 * np.clip(level, 0, 1)).astype(np.uint8)]


def shrink(image: np.ndarray, side: int) -> np.ndarray:
  """H×W×3 uint8 by area averaging until no side exceeds `side`."""
  height, width = image.shape[:2]
  if max(height, width) <= side:
    return image
  factor = side / max(height, width)
  size = [max(1, round(n * factor)) for n in (width, height)]
  return np.asarray(Image.fromarray(image).resize(size, Image.BOX))


class Uris:
  """The images of a page, by short keys."""

  def __init__(self):
    self.keyed: dict[str, str] = {}

  def lossless(self, image: np.ndarray) -> str:
    """Adds H×W×3 uint8, exactly; returns its key."""
    return self._add(image, lossless=True, quality=70)

  def whole(self, image: np.ndarray) -> str:
    """Adds H×W×3 uint8, compressed, and shrunk to `OVERVIEW`."""
    return self._add(shrink(image, OVERVIEW), quality=_QUALITY)

  def map(self, image: np.ndarray, side: int) -> str:
    """Adds H×W×3 uint8 of a smooth map, compressed, shrunk to `side`."""
    return self._add(shrink(image, side), quality=_MAP_QUALITY)

  def _add(self, image: np.ndarray, **options) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "WEBP", **options)
    text = base64.b64encode(file.getvalue()).decode()
    key = f"i{len(self.keyed)}"
    self.keyed[key] = f"data:image/webp;base64,{text}"
    return key
