"""Evaluation protocols: how LR is made and how outputs are scored.

Scores differ more between protocols than between the methods that they compare,
so every score is reported with the name of its protocol.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses

import numpy as np

from bamjax import metrics
from bamjax.errors import UserError
from bamjax.images import resize

Pair = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Degradation:
  """How a protocol makes LR, and its bicubic upscaling.

  Attributes:
    name: names the folders of saved images.
    pair: maps HR, the image of the LR file (None if there is none) and the
      scale to LR and the HR to score against; all H×W×3 uint8.
    upscale: maps LR, H×W×3 uint8, and the scale to its bicubic upscaling.
  """

  name: str
  pair: Callable[[np.ndarray, np.ndarray | None, int], Pair]
  upscale: Callable[[np.ndarray, int], np.ndarray]


def _matlab_pair(hr: np.ndarray, lr: np.ndarray | None, scale: int) -> Pair:
  """Crops HR to a multiple of the scale; uses the LR file if there is one.

  Otherwise, LR is made as by MATLAB's imresize.
  """
  hr = resize.mod_crop(hr, scale)
  return (resize.downscale(hr, scale) if lr is None else lr), hr


def _pillow_pair(hr: np.ndarray, lr: np.ndarray | None, scale: int) -> Pair:
  """Resizes HR to a multiple of the scale; always makes LR by Pillow."""
  del lr
  height, width = (n // scale for n in hr.shape[:2])
  if hr.shape[:2] != (height * scale, width * scale):
    hr = resize.pillow_bicubic(hr, height * scale, width * scale)
  return resize.pillow_bicubic(hr, height, width), hr


def _pillow_upscale(lr: np.ndarray, scale: int) -> np.ndarray:
  return resize.pillow_bicubic(lr, lr.shape[0] * scale, lr.shape[1] * scale)


_MATLAB = Degradation("matlab", _matlab_pair, resize.upscale)
_PILLOW = Degradation("pillow", _pillow_pair, _pillow_upscale)


@dataclasses.dataclass(frozen=True)
class Protocol:
  """A complete recipe for scoring an image.

  Attributes:
    name: name of the protocol.
    version: incremented whenever a change of the code changes a score.
    degradation: how LR is made.
    planes: what is scored: the luma "matlab" or "bam", or "rgb"
      (`bamjax.metrics.scores`).
    rounded: whether SR is rounded to 8 bits before it is scored.
    border: maps the scale to the number of pixels excluded on each side.
    summary: one-line description.
  """

  name: str
  version: int
  degradation: Degradation
  planes: str
  rounded: bool
  border: Callable[[int], int]
  summary: str

  @property
  def suffix(self) -> str:
    """Suffix of the names of the scores: "y" or "rgb"."""
    return "rgb" if self.planes == "rgb" else "y"

  def check_size(self, shape: Sequence[int], scale: int) -> None:
    """Raises UserError if an HR image is too small to be scored.

    Args:
      shape: height and width of HR; further axes are ignored.
      scale: upscaling factor.
    """
    least = metrics.WINDOW + 2 * self.border(scale)
    if min(shape[:2]) < least:
      raise UserError(
        f"too small to be scored: HR is {shape[1]}×{shape[0]}, less than"
        f" {least}×{least}"
      )

  def score(
    self, sr: np.ndarray, hr: np.ndarray, scale: int
  ) -> dict[str, float]:
    """Scores one image.

    Args:
      sr: H×W×3, uint8 or floating in [0, 1].
      hr: H×W×3 uint8.
      scale: upscaling factor.

    Returns:
      `psnr_y` (dB) and `ssim_y`, or `psnr_rgb` (dB) and `ssim_rgb`.

    Raises:
      UserError: the image is smaller than SSIM's window plus the border, or SR
        has another size or is no image (`bamjax.pixels`).
    """
    self.check_size(hr.shape, scale)
    try:
      return metrics.image_scores(
        sr, hr, self.border(scale), self.planes, self.rounded
      )
    except ValueError as error:
      raise UserError(f"can't be scored: {error}") from None


_ALL = (
  Protocol(
    "matlab",
    1,
    _MATLAB,
    "matlab",
    True,
    lambda scale: scale,
    "standard in the literature: HR cropped, LR by MATLAB's imresize, SR in 8"
    " bits, Y of BT.601, border s",
  ),
  Protocol(
    "bam",
    1,
    _PILLOW,
    "bam",
    False,
    lambda scale: scale,
    "the BAM paper's released evaluation: HR resized, LR by Pillow, SR not"
    " rounded, its own coefficients of Y, border s",
  ),
  Protocol(
    "ntire",
    1,
    _MATLAB,
    "rgb",
    True,
    lambda scale: scale + 6,
    "the NTIRE challenge and EDSR on DIV2K: matlab, but in RGB with border"
    " s + 6",
  ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}
MATLAB = PROTOCOLS["matlab"]


def find(names: Iterable[str]) -> list[Protocol]:
  """Looks up protocols by name; repeated names count once.

  Raises:
    UserError: a name is unknown, or no name is given.
  """
  found = list(dict.fromkeys(names))
  for name in found:
    if name not in PROTOCOLS:
      raise UserError(
        f"unknown protocol {name!r}; choose from {', '.join(PROTOCOLS)}"
      )
  if not found:
    raise UserError(f"no protocol named; choose from {', '.join(PROTOCOLS)}")
  return [PROTOCOLS[name] for name in found]
