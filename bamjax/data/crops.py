"""The paper's five crops of each picture, decoded once and kept as bytes."""

from collections.abc import Iterable
import logging

import numpy as np

from bamjax.data.sources import Picture
from bamjax.errors import UserError

Pair = tuple[np.ndarray, np.ndarray]


def five_crops(lr: np.ndarray, hr: np.ndarray) -> list[Pair]:
  """Four corners and the centre, each of half the height and width.

  Args:
    lr: h×w×3.
    hr: sh×sw×3.

  Returns:
    Five pairs of views, (h//2)×(w//2)×3 and s(h//2)×s(w//2)×3 (paper,
    "Implementation details").
  """
  scale = hr.shape[0] // lr.shape[0]
  height, width = lr.shape[0] // 2, lr.shape[1] // 2
  bottom, right = lr.shape[0] - height, lr.shape[1] - width
  origins = [
    (0, 0),
    (0, right),
    (bottom, 0),
    (bottom, right),
    (bottom // 2, right // 2),
  ]
  return [
    (
      lr[y : y + height, x : x + width],
      hr[scale * y : scale * (y + height), scale * x : scale * (x + width)],
    )
    for y, x in origins
  ]


class CropStore:
  """Crops of pictures, decoded once, as uint8 views of the pictures.

  Attributes:
    pairs: LR and HR crops.
    sizes: (len(pairs), 2) int32, LR heights and widths.
    scale: upscaling factor.
  """

  def __init__(self, pictures: Iterable[Picture], patch: int):
    """Reads the pictures.

    A picture whose half is smaller than a patch is taken whole. One that cannot
    be read, or is smaller than a patch, is named in a warning and left out.

    Args:
      pictures: to read.
      patch: side of the LR patches.

    Raises:
      UserError: no picture is left.
    """
    self.pairs: list[Pair] = []
    left_out = 0
    for picture in pictures:
      try:
        lr, hr = picture.load()
        if min(lr.shape[:2]) < patch:
          raise UserError(
            f"{picture.name}: its LR, {lr.shape[1]}×{lr.shape[0]}, is smaller"
            f" than a patch of {patch}×{patch}"
          )
      except UserError as error:
        logging.warning("left out: %s", error)
        left_out += 1
        continue
      crops = five_crops(lr, hr)
      small = min(crops[0][0].shape[:2]) < patch
      self.pairs += [(lr, hr)] if small else crops
    if not self.pairs:
      raise UserError(
        f"no picture to train on is left: all {left_out} cannot be read or are"
        f" smaller than a patch of {patch}×{patch} LR pixels; see the warnings"
        " above, or lower --config.data.patch"
      )
    self.sizes = np.array([lr.shape[:2] for lr, _ in self.pairs], np.int32)
    self.scale = self.pairs[0][1].shape[0] // self.pairs[0][0].shape[0]
