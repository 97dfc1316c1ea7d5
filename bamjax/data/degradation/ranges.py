"""Checks of the ranges and probabilities that a mixture draws from."""

import math

from bamjax.data.degradation.blur_kernels import check_size
from bamjax.errors import UserError

# The lowest and the highest value.
Range = tuple[float, float]
Whole = tuple[int, int]


def check_range(
  name: str,
  values: Range,
  lowest: float,
  highest: float = math.inf,
  *,
  above: bool = False,
) -> None:
  """Raises UserError unless values are a finite range within limits.

  Args:
    name: for the message.
    values: the range.
    lowest: allowed, unless `above`.
    highest: allowed.
    above: whether values must be above `lowest`.
  """
  shown = f"{name}={tuple(values)}"
  if len(values) != 2 or not values[0] <= values[1]:  # also NaN
    raise UserError(f"{shown} is no range: use (lowest, highest)")
  if values[0] < lowest or (above and values[0] == lowest):
    how = "above" if above else "at least"
    raise UserError(f"{shown} is out of range: it must be {how} {lowest}")
  if values[1] > highest or math.isinf(values[1]):
    limit = "finite" if math.isinf(highest) else f"at most {highest}"
    raise UserError(f"{shown} is out of range: it must be {limit}")


def check_quality(values: Whole) -> None:
  """Raises UserError unless JPEG has qualities from the first to the second."""
  check_range("JPEG quality", values, 1, 100)
  if any(value != int(value) for value in values):
    raise UserError(f"JPEG quality={tuple(values)}: whole numbers are needed")


def check_kernel_size(values: Whole) -> None:
  """Raises UserError unless both sides of a range are odd and positive."""
  check_range("kernel_size", values, 1)
  for size in values:
    check_size(size)


def check_probabilities(name: str, *values: float) -> None:
  """Raises UserError unless values are probabilities; several add up to 1."""
  if not all(0 <= value <= 1 for value in values):
    raise UserError(f"{name}={values}: a probability must be between 0 and 1")
  if len(values) > 1 and abs(sum(values) - 1) > 1e-6:
    raise UserError(f"{name}={values}: they must add up to 1")
