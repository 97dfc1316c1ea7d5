"""The scale of weights that fit several scales, found in the file's name."""

from collections.abc import Sequence
import re

from bamjax.errors import UserError

# By backbone. PAN's single upsampling step is ×2 or ×3.
FITTING = {"pan": (2, 3)}
# CARN has a branch for each of its scales.
HELD = {"carn": (2, 3, 4), "carn_m": (2, 3, 4)}

_NAMED = re.compile(r"(?i)(?:x|×|scale[_-]?)([2348])(?!\d)|(?<!\d)([2348])[x×]")


class AmbiguousScale(UserError):
  """Weights whose tensors fit several scales, with no scale in their name.

  Attributes:
    scales: the scales that they fit.
  """

  def __init__(self, message: str, scales: Sequence[int]):
    super().__init__(message)
    self.scales = tuple(scales)


def by_name(name: str, scales: Sequence[int]) -> int | None:
  """Finds the one of `scales` in a file's name: "pan_x3.pth", "3x-PAN.pth".

  Returns:
    The scale; None if the name contains none of them, or several.
  """
  named = {int(a or b) for a, b in _NAMED.findall(name)}
  found = named.intersection(scales)
  return found.pop() if len(found) == 1 else None
