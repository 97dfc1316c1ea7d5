"""Checks the fields of modules by their annotations."""

import dataclasses
import math
import numbers
from typing import Any
from typing import get_origin

from bamjax.errors import UserError


def is_whole(value: Any) -> bool:
  """Whether a value is an integer of at least 1, and not a bool."""
  number = isinstance(value, numbers.Integral) and not isinstance(value, bool)
  return number and value >= 1


def check_fields(module: Any) -> None:
  """Checks the fields of a module that is being constructed.

  Lists become tuples, because modules must be hashable.

  Args:
    module: a dataclass. Its int fields are sizes and counts, at least 1.

  Raises:
    UserError: a field's value doesn't fit its annotation.
  """
  for field in dataclasses.fields(module):
    value = getattr(module, field.name)
    if get_origin(field.type) is tuple and isinstance(value, list | tuple):
      value = tuple(value)
      object.__setattr__(module, field.name, value)
    wanted = _expectation(field.type, value)
    if wanted:
      raise UserError(
        f"{type(module).__name__}: {field.name} must be {wanted}; got {value!r}"
      )


def _expectation(kind: Any, value: Any) -> str:
  """Says what a field of a type must be; "" if the value fits."""
  if kind is int:
    return "" if is_whole(value) else "a whole number of at least 1"
  if kind is float:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return "" if number and math.isfinite(value) else "a finite number"
  if kind is bool:
    return "" if isinstance(value, bool) else "True or False"
  if get_origin(kind) is tuple:
    good = isinstance(value, tuple) and value and all(map(is_whole, value))
    return "" if good else "a tuple of whole numbers of at least 1"
  if kind.__module__.startswith("bamjax."):
    # Any callable may stand for an `Attention`.
    good = isinstance(value, kind) or callable(value)
    return "" if good else f"an instance of {kind.__name__}"
  return ""
