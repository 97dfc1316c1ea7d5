"""Flags with several values: A,B, or the flag repeated."""

from collections.abc import Sequence
import contextlib
import os

from absl import flags


class _Paths(flags.ListParser):
  """Splits at commas, except inside the name of an existing file or folder."""

  def parse(self, argument: str | list[str]) -> list[str]:
    parts = argument.split(",") if isinstance(argument, str) else argument
    paths = []
    while parts:
      # The longest name that exists; otherwise one part, reported as missing
      # by whoever reads it.
      count = next(
        (
          count
          for count in range(len(parts), 1, -1)
          if os.path.exists(",".join(parts[:count]).strip())
        ),
        1,
      )
      paths.append(",".join(parts[:count]).strip())
      parts = parts[count:]
    return [path for path in paths if path]


class _Whole(flags.ListParser):
  """Does not split."""

  def parse(self, argument: str | list[str]) -> list[str]:
    return [argument] if isinstance(argument, str) else argument


class Integer(flags.IntegerParser):
  """A whole number, which may have to be one of a few."""

  def __init__(self, numbers: Sequence[int] | None = None):
    super().__init__()
    self._numbers = numbers

  def parse(self, argument: str | int) -> int:
    """Returns the number.

    Raises:
      ValueError: it is none, or not one of those.
    """
    number: int | None = None
    with contextlib.suppress(ValueError, TypeError):
      number = super().parse(argument)
    if self._numbers and number not in self._numbers:
      raise ValueError(f"choose from {', '.join(map(str, self._numbers))}")
    if number is None:
      raise ValueError("expected a whole number")
    return number


class _Integers(flags.ArgumentParser):
  """Whole numbers, separated by commas."""

  def __init__(self, numbers: Sequence[int] | None):
    self._integer = Integer(numbers)

  def parse(self, argument: str | list[int]) -> list[int]:
    if not isinstance(argument, str):
      return argument
    try:
      return [
        self._integer.parse(text)
        for text in argument.split(",")
        if text.strip()
      ]
    except ValueError as error:
      message = str(error).replace("a whole number", "whole numbers")
      raise ValueError(f"{message}, separated by commas") from None


class _Repeated(flags.Flag):
  """A flag that collects the values of all its occurrences."""

  def parse(self, argument: str | list) -> None:
    """Appends the values of one occurrence."""
    earlier = (self.value or []) if self.present else []
    super().parse(argument)
    self.value = [*earlier, *(self.value or [])]


def define(
  name: str,
  default: Sequence[str] | Sequence[int] | None,
  help_text: str,
  values: flags.FlagValues,
  *,
  paths: bool = False,
  whole: bool = False,
  integers: bool = False,
  numbers: Sequence[int] | None = None,
) -> None:
  """Defines a flag with several values.

  Args:
    name: the flag's name.
    default: its values if the flag is not used.
    help_text: its description in --help.
    values: where it is defined.
    paths: whether the values are paths, which may contain commas.
    whole: whether the values are not split at commas at all.
    integers: whether the values are whole numbers.
    numbers: the only valid numbers.
  """
  parser: flags.ArgumentParser = flags.ListParser()
  if paths:
    parser = _Paths()
  elif whole:
    parser = _Whole()
  elif integers:
    parser = _Integers(numbers)
  flag = _Repeated(
    parser,
    flags.CsvListSerializer(","),
    name,
    None if default is None else list(default),
    help_text,
  )
  flags.DEFINE_flag(flag, values)
