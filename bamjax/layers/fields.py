"""What the fields of a module may hold, by their annotations."""

import dataclasses
import math
import numbers
from typing import Any
from typing import get_origin

from bamjax.errors import UserError


def is_whole(value: Any) -> bool:
  """Whether a value is an integer of at least 1."""
  number = isinstance(value, numbers.Integral) and not isinstance(value, bool)
  return number and value >= 1


def check_fields(module: Any) -> None:
  """Checks the fields of a dataclass that are numbers, flags, or such.

  Lists become tuples: a module must be hashable.

  Args:
    module: a module that is being made; its fields of type int hold sizes and
      counts, from 1 on.

  Raises:
    UserError: a field holds something else.
  """
  for field in dataclasses.fields(module):
    value = getattr(module, field.name)
    if get_origin(field.type) is tuple and isinstance(value, list | tuple):
      value = tuple(value)
      object.__setattr__(module, field.name, value)
    wanted = _wanted(field.type, value)
    if wanted:
      raise UserError(
        f"{type(module).__name__}: {field.name} must be {wanted}; got {value!r}"
      )


def _wanted(kind: Any, value: Any) -> str:
  """What a field of a type must be, where a value is something else."""
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
    # Another factory of attentions will do.
    good = isinstance(value, kind) or callable(value)
    return "" if good else f"an instance of {kind.__name__}"
  return ""
