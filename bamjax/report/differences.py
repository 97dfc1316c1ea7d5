"""Where the outputs of several networks differ."""

from collections.abc import Sequence
from typing import TypeVar

import jax.numpy as jnp
import numpy as np

from bamjax import metrics

CROPS = 3
_SIDES = (32, 96)  # minimum and maximum side of a crop, in HR pixels

Box = tuple[int, int, int, int]  # top, left, height, width
Value = TypeVar("Value")


def rivals(methods: Sequence[Value]) -> Sequence[Value]:
  """Drops bicubic upscaling, the first method, if there are two networks.

  A single network is compared with bicubic upscaling.
  """
  return methods[1:] if len(methods) > 2 else methods


def luma(image: np.ndarray) -> np.ndarray:
  """Y of MATLAB's YCbCr: H×W×3 uint8 → H×W float32 in [16, 235]."""
  return np.asarray(metrics.luma(jnp.asarray(image / np.float32(255))))


def difference(outputs: Sequence[np.ndarray]) -> np.ndarray:
  """Returns the range of luma over the compared outputs at each pixel.

  Args:
    outputs: the outputs of bicubic upscaling, which counts only if there is
      one network, and of each network; H×W×3 uint8.

  Returns:
    H×W float32, in levels of luma.
  """
  planes = np.stack([luma(image) for image in rivals(outputs)])
  return planes.max(axis=0) - planes.min(axis=0)


def crops(outputs: Sequence[np.ndarray], count: int = CROPS) -> list[Box]:
  """Finds the squares in which the outputs differ most.

  Args:
    outputs: the outputs of bicubic upscaling and of each network, H×W×3 uint8.
    count: maximum number of squares.

  Returns:
    Squares that do not overlap, in order of their mean squared difference in
    luma, largest first. Their side is a quarter of the image's shorter one,
    clipped to [32, 96] pixels and to the image.
  """
  squares = difference(outputs).astype(np.float64) ** 2
  side = int(np.clip(min(squares.shape) // 4, *_SIDES))
  height, width = (min(side, n) for n in squares.shape)
  # Sums over all windows, from a table of cumulative sums.
  sums = np.pad(squares, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
  windows = (
    sums[height:, width:]
    - sums[:-height, width:]
    - sums[height:, :-width]
    + sums[:-height, :-width]
  )
  boxes: list[Box] = []
  while len(boxes) < count and np.any(np.isfinite(windows)):
    top, left = np.unravel_index(np.argmax(windows), windows.shape)
    boxes.append((int(top), int(left), height, width))
    above, before = max(top - height + 1, 0), max(left - width + 1, 0)
    windows[above : top + height, before : left + width] = -np.inf
  return boxes
