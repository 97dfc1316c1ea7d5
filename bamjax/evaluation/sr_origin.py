"""Which HR images SR images were made from: cropped, or resized.

If the size of HR is not a multiple of the scale, `matlab` crops HR and `bam`
resizes it. Both have the same size, so only the pixels show which one LR, and
then SR, was made from.
"""

from collections import Counter
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import math
from typing import Any

import numpy as np

from bamjax.evaluation.protocols import MATLAB
from bamjax.evaluation.protocols import Protocol
from bamjax.evaluation.protocols import PROTOCOLS
from bamjax.images import resize

_DEGRADATIONS = {
  "cropped": MATLAB.degradation,
  "resized": PROTOCOLS["bam"].degradation,
}
_CLEAR = 1.0  # dB by which one LR has to match better

NUMBERS = tuple(
  f"{kind}_{name}" for kind in ("lr", "hr") for name in _DEGRADATIONS
)
HEADER = ("HR cropped", "HR resized", "made from HR")


def find_origin(
  sr: np.ndarray, hr: np.ndarray | None, scale: int
) -> dict[str, Any]:
  """Whether SR was made from HR cropped or resized to a multiple of the scale.

  SR, downscaled, comes close to the LR image that it was made from. Scores
  against both HR don't settle the question: resized HR is smoother, so that SR
  may score higher against it even if made from cropped HR.

  Args:
    sr: H×W×3 uint8.
    hr: the original, uncropped, uint8; None if there is none.
    scale: upscaling factor.

  Returns:
    `made_from`: "cropped", "resized", or "unclear" if neither LR matches better
    by 1 dB; `lr_cropped`, `lr_resized`: PSNR (dB, RGB) of SR downscaled against
    the LR of either HR; `hr_cropped`, `hr_resized`: PSNR-Y (dB) of SR against
    either HR, as protocol `matlab` computes it. All are None if the size of HR
    is a multiple of the scale, which leaves one HR.
  """
  if hr is None or not any(n % scale for n in hr.shape[:2]):
    return dict.fromkeys(("made_from", *NUMBERS))
  small = resize.downscale(sr, scale)
  numbers = {}
  for name, degradation in _DEGRADATIONS.items():
    lr, target = degradation.pair(hr, None, scale)
    numbers[f"lr_{name}"] = _psnr(small, lr)
    numbers[f"hr_{name}"] = MATLAB.score(sr, target, scale)["psnr_y"]
  gap = numbers["lr_resized"] - numbers["lr_cropped"]
  made_from = "unclear"
  if abs(gap) >= _CLEAR:
    made_from = "resized" if gap > 0 else "cropped"
  return {"made_from": made_from, **numbers}


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
  """PSNR (dB) of two uint8 images over all pixels and channels."""
  error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
  return 10 * math.log10(255**2 / error) if error else math.inf


def known(images: Sequence[Mapping[str, Any]]) -> bool:
  """Whether any image of a row of results has an origin."""
  return any(image.get("made_from") for image in images)


def cells(scores: Mapping[str, Any]) -> list[str]:
  """Cells under `HEADER` for an image, or for the means."""
  values = [scores.get(name) for name in ("hr_cropped", "hr_resized")]
  texts = ["–" if value is None else f"{value:.2f} dB" for value in values]
  return [*texts, scores.get("made_from") or ""]


def notes(
  images: Sequence[Mapping[str, Any]], protocol: Protocol, scale: int
) -> Iterator[str]:
  """What the origins mean for scores under a protocol, a line for each."""
  found = [image for image in images if image.get("made_from")]
  for kind, count in Counter(image["made_from"] for image in found).items():
    means = {
      name: _mean([i[f"lr_{name}"] for i in found if i["made_from"] == kind])
      for name in _DEGRADATIONS
    }
    evidence = (
      f"downscaled, they match the LR of cropped HR at {means['cropped']} and"
      f" that of resized HR at {means['resized']}"
    )
    some = f"{count} of {len(images)} SR images"
    if kind == "unclear":
      yield f"{some} may be made from cropped or from resized HR: {evidence}"
      continue
    yield f"{some} are made from HR {kind} to a multiple of {scale}: {evidence}"
    if _DEGRADATIONS[kind] != protocol.degradation:
      yield (
        f"protocol {protocol.name} compares those with another HR, so that"
        " their scores here are not those of the network that made them"
      )


def _mean(values: Sequence[float | None]) -> str:
  finite = [v for v in values if v is not None and math.isfinite(v)]
  return f"{np.mean(finite):.1f} dB" if finite else "no finite PSNR"
