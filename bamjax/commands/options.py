"""A command's options: a dataclass whose fields are the command's flags.

Each flag is written once, with its type, default and description:

  @dataclasses.dataclass(frozen=True)
  class Options:
    images: Sequence[str] = positional("IMAGE …")
    scale: int | None = option(None, "upscaling factor", short="s")

The types `str`, `int`, `float`, `bool` (each also `| None`), `Sequence[str]`
and `Sequence[int]` become flags of absl.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import types
import typing
from typing import Any

from absl import flags

from bamjax.commands import list_flags

# Defines a flag of its own kind: its name, its description, where it is
# defined, and the command line.
Define = Callable[[str, str, flags.FlagValues, Sequence[str]], None]


# The upscaling factors of `bamjax.models.registry`, which imports JAX.
SCALES = (2, 3, 4, 8)

# absl's, by the type of the flag's value.
_FUNCTIONS: dict[type, Callable[..., object]] = {
  str: flags.DEFINE_string,
  float: flags.DEFINE_float,
  bool: flags.DEFINE_bool,
}


@dataclasses.dataclass(frozen=True)
class _Meta:
  """What a field says about its flag; see `option`."""

  help: str
  value: str | None = None
  short: str | None = None
  choices: Sequence[str] | None = None
  numbers: Sequence[int] | None = None
  paths: bool = False
  whole: bool = False
  positional: bool = False
  define: Define | None = None


@dataclasses.dataclass(frozen=True)
class Flag:
  """A flag as --help shows it.

  Attributes:
    name: without dashes.
    help: its description.
    value: the placeholder of its value, e.g. "FILE"; None for a switch.
    short: its one-letter name.
    default: its default value; None if there is none to show.
  """

  name: str
  help: str
  value: str | None
  short: str | None
  default: Any


def option(
  default: Any,
  help_text: str,
  *,
  value: str | None = None,
  short: str | None = None,
  choices: Sequence[str] | None = None,
  numbers: Sequence[int] | None = None,
  paths: bool = False,
  whole: bool = False,
  define: Define | None = None,
) -> Any:
  """Declares a field of `Options`, and the flag of the same name.

  Args:
    default: the field's value if the flag is not used.
    help_text: the flag's description in --help, without its default.
    value: the placeholder in --help, e.g. "FILE"; by default that of the type.
    short: a one-letter name.
    choices: the only valid values of a text.
    numbers: the only valid whole numbers.
    paths: whether a list's values are paths, which may contain commas.
    whole: whether a list's values are not split at commas at all.
    define: defines the flag, if its type is none of the usual ones.
  """
  meta = _Meta(
    *(help_text, value, short, choices, numbers, paths, whole), define=define
  )
  return dataclasses.field(default=default, metadata={"flag": meta})


def positional(value: str) -> Any:
  """Declares the field that holds the arguments without a flag.

  Args:
    value: the placeholder in --help, e.g. "IMAGE …".
  """
  meta = _Meta("", value, positional=True)
  return dataclasses.field(default=(), metadata={"flag": meta})


def describe(options: type) -> dict[str, list[Flag]]:
  """The flags of an `Options` class, by the class that declares them.

  Returns:
    A list for each class, the command's own first. A base class may have an
    attribute `heading`; that of the command's own is "flags".
  """
  fields = {name: rest for name, *rest in _fields(options)}
  groups: dict[str, list[Flag]] = {}
  for owner in options.__mro__:
    heading = (
      "flags" if owner is options else getattr(owner, "heading", "flags")
    )
    for name in vars(owner).get("__annotations__", {}):
      if name in fields and not fields[name][0].positional:
        groups.setdefault(heading, []).append(_flag(name, *fields[name]))
  return groups


def _flag(name: str, meta: _Meta, kind: Any, default: Any) -> Flag:
  shown = None if kind is bool or default in ((), None) else default
  return Flag(name, meta.help, _placeholder(meta, kind), meta.short, shown)


def positionals(options: type) -> str | None:
  """The placeholder of the positional arguments; None if there are none."""
  return next(
    (meta.value for _, meta, _, _ in _fields(options) if meta.positional), None
  )


def define(
  options: type, values: flags.FlagValues, arguments: Sequence[str]
) -> None:
  """Defines the flags of an `Options` class.

  Args:
    options: the class.
    values: where the flags are defined.
    arguments: the command line that will be parsed.
  """
  for name, meta, kind, default in _fields(options):
    if meta.positional:
      continue
    if meta.define:
      meta.define(name, meta.help, values, arguments)
    elif typing.get_origin(kind):
      (item,) = typing.get_args(kind)
      list_flags.define(
        *(name, default, meta.help, values),
        paths=meta.paths,
        whole=meta.whole,
        integers=item is int,
        numbers=meta.numbers,
      )
    elif kind is int:
      parser = list_flags.Integer(meta.numbers)
      flags.DEFINE(
        *(parser, name, default, meta.help, values),
        short_name=meta.short,
      )
    elif meta.choices:
      flags.DEFINE_enum(
        name, default, meta.choices, meta.help, flag_values=values
      )
    else:
      _FUNCTIONS[kind](
        name, default, meta.help, flag_values=values, short_name=meta.short
      )


def collect(
  options: type, values: flags.FlagValues, arguments: Sequence[str]
) -> Any:
  """Returns an instance of an `Options` class.

  Args:
    options: the class.
    values: its parsed flags.
    arguments: the positional arguments.
  """
  return options(
    **{
      name: list(arguments) if meta.positional else values[name].value
      for name, meta, _, _ in _fields(options)
    }
  )


def _fields(options: type) -> list[tuple[str, _Meta, Any, Any]]:
  """The name, description, type without None, and default of each field."""
  hints = typing.get_type_hints(options)
  found = []
  for field in dataclasses.fields(options):
    kind = hints[field.name]
    if isinstance(kind, types.UnionType):
      (kind,) = set(typing.get_args(kind)) - {types.NoneType}
    found.append((field.name, field.metadata["flag"], kind, field.default))
  return found


def _placeholder(meta: _Meta, kind: Any) -> str | None:
  if kind is bool:
    return None
  if meta.choices:
    return "|".join(meta.choices)
  if meta.value:
    return meta.value
  usual = {int: "N", float: "X", str: "TEXT"}
  if typing.get_origin(kind):
    item = usual[typing.get_args(kind)[0]]
    return f"{item},{item}"
  return usual[kind]
