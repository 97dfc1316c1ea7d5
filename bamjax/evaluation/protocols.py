"""Evaluation protocols, by name: what is compared with what, and how.

Scores of different protocols differ by more than the methods that they are to
compare, so that no score goes without the name of its protocol.
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
  """How a protocol makes LR, and the bicubic image beside a network's.

  Attributes:
    name: for the folders of saved images.
    pair: maps HR, the LR file (None where there is none) and the scale to LR
      and the HR that is compared; all H×W×3 uint8.
    upscale: bicubic upscaling of LR by a scale, uint8.
  """

  name: str
  pair: Callable[[np.ndarray, np.ndarray | None, int], Pair]
  upscale: Callable[[np.ndarray, int], np.ndarray]


def _matlab_pair(hr: np.ndarray, lr: np.ndarray | None, scale: int) -> Pair:
  """HR cropped to a multiple of the scale; the LR file, or `imresize`'s LR."""
  hr = resize.mod_crop(hr, scale)
  return (resize.downscale(hr, scale) if lr is None else lr), hr


def _pillow_pair(hr: np.ndarray, lr: np.ndarray | None, scale: int) -> Pair:
  """HR resized to a multiple of the scale; LR always by Pillow from it."""
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
  """How an image is scored.

  Attributes:
    name: of the protocol.
    version: raised whenever a change here moves a score.
    degradation: how LR is made.
    planes: of `bamjax.metrics.scores`.
    rounded: SR is rounded to 8 bits before it is scored.
    border: maps the scale to the pixels that are left out on each side.
    summary: a line for tables.
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
    """ "y" or "rgb": what the names of the scores end in."""
    return "rgb" if self.planes == "rgb" else "y"

  def check_size(self, shape: Sequence[int], scale: int) -> None:
    """Raises UserError where HR of a shape, H×W×…, is too small to score."""
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
      sr: H×W×3, uint8, or floating in [0, 1].
      hr: H×W×3 uint8.
      scale: upscaling factor.

    Returns:
      `psnr_y` (dB) and `ssim_y`, or `psnr_rgb` and `ssim_rgb`.

    Raises:
      UserError: the image is smaller than SSIM's window and the border.
    """
    try:
      return metrics.image_scores(
        sr, hr, self.border(scale), self.planes, self.rounded
      )
    except ValueError as error:
      raise UserError(f"too small to be scored: {error}") from None


_ALL = (
  Protocol(
    "matlab",
    1,
    _MATLAB,
    "matlab",
    True,
    lambda scale: scale,
    "the literature's: HR cropped, LR by MATLAB's imresize, SR in 8 bits, Y of"
    " BT.601, border s",
  ),
  Protocol(
    "bam",
    1,
    _PILLOW,
    "bam",
    False,
    lambda scale: scale,
    "the BAM paper's released evaluation: HR resized, LR by Pillow, SR not"
    " rounded, its own Y, border s",
  ),
  Protocol(
    "ntire",
    1,
    _MATLAB,
    "rgb",
    True,
    lambda scale: scale + 6,
    "the NTIRE challenge's and EDSR's for DIV2K: as matlab, but RGB and border"
    " s + 6",
  ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}
MATLAB = PROTOCOLS["matlab"]


def find(names: Iterable[str]) -> list[Protocol]:
  """Protocols by name, each once.

  Raises:
    UserError: a name is unknown, or there is none.
  """
  found = list(dict.fromkeys(names))
  for name in found:
    if name not in PROTOCOLS:
      raise UserError(
        f"unknown protocol {name!r}; choose from {', '.join(PROTOCOLS)}"
      )
  if not found:
    raise UserError(f"no protocol; choose from {', '.join(PROTOCOLS)}")
  return [PROTOCOLS[name] for name in found]
