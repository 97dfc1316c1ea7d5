"""Flags of several values: A,B, or the flag once more for each."""

from collections.abc import Sequence
import os

from absl import flags

# Those that are defined here are the calling script's, whose --help has them.
flags.disclaim_key_flags()


class _Paths(flags.ListParser):
  """Splits at commas, but for those in the name of what is there."""

  def parse(self, argument: str | list[str]) -> list[str]:
    parts = argument.split(",") if isinstance(argument, str) else argument
    found = []
    while parts:
      # The longest that exists; else one part, which is reported as it is.
      count = next(
        (
          count
          for count in range(len(parts), 1, -1)
          if os.path.exists(",".join(parts[:count]).strip())
        ),
        1,
      )
      found.append(",".join(parts[:count]).strip())
      parts = parts[count:]
    return [path for path in found if path]


class _Repeated(flags.Flag):
  """Given several times, it holds the values of all."""

  def parse(self, argument: str | list[str]) -> None:
    """Adds the values of an argument to those of the flag's earlier ones."""
    before = self.value if self.present else []
    super().parse(argument)
    self.value = [*before, *self.value]


def define(
  name: str,
  default: Sequence[str] | None,
  help_text: str,
  *,
  paths: bool = False,
  flag_values: flags.FlagValues = flags.FLAGS,
) -> flags.FlagHolder:
  """Defines a flag of several texts.

  Args:
    name: of the flag.
    default: what it holds where it is not given.
    help_text: what --help says of it.
    paths: they name files or folders, whose names may hold commas.
    flag_values: where it is defined.
  """
  flag = _Repeated(
    _Paths() if paths else flags.ListParser(),
    flags.CsvListSerializer(","),
    name,
    None if default is None else list(default),
    help_text,
  )
  return flags.DEFINE_flag(flag, flag_values)
