"""The scale of weights whose tensors fit several: what their file is named."""

from collections.abc import Sequence
import re

from bamjax.errors import UserError

# By backbone: PAN's one step is ×2 or ×3.
FITTING = {"pan": (2, 3)}
# CARN holds a branch for each.
HELD = {"carn": (2, 3, 4), "carn_m": (2, 3, 4)}

_NAMED = re.compile(r"(?i)(?:x|×|scale[_-]?)([2348])(?!\d)|(?<!\d)([2348])[x×]")


class AmbiguousScale(UserError):
  """Weights whose tensors fit several scales, of a name that tells none.

  Attributes:
    scales: those that they fit.
  """

  def __init__(self, message: str, scales: Sequence[int]):
    super().__init__(message)
    self.scales = tuple(scales)


def by_name(name: str, scales: Sequence[int]) -> int | None:
  """The one of `scales` that a file's name tells: "pan_x3.pth", "3x-PAN.pth".

  None where it tells none of them, or several.
  """
  told = {int(a or b) for a, b in _NAMED.findall(name)}
  found = told.intersection(scales)
  return found.pop() if len(found) == 1 else None
