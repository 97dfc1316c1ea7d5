"""What --help prints."""

from collections.abc import Mapping
import textwrap

from bamjax.commands import options as options_lib

_WIDTH = 80
_COLUMN = 26  # where descriptions begin


def of_program(commands: Mapping[str, str]) -> str:
  """The help of `bamjax`.

  Args:
    commands: the first line of each command's description.
  """
  lines = [
    "usage: bamjax COMMAND [--FLAG=VALUE …]",
    "",
    "Single-image super-resolution in JAX with balanced attention (BAM).",
    "",
    "commands:",
    *(f"  {name:<12}{text}" for name, text in commands.items()),
    "",
    "  bamjax help COMMAND   describes a command and its flags",
    "  bamjax --version      prints versions and the device",
  ]
  return "\n".join(lines)


def of_command(program: str, name: str, doc: str, options: type) -> str:
  """The help of a command.

  Args:
    program: how the user calls it: "bamjax train", "train.py".
    name: the command's name.
    doc: its description, with examples that call `bamjax NAME`.
    options: the class of its options.
  """
  inputs = options_lib.positionals(options)
  call = program if program.startswith("bamjax ") else f"python {program}"
  doc = doc.replace(f"bamjax {name}", call)
  lines = [
    f"usage: {call} [--FLAG=VALUE …]{f' {inputs}' if inputs else ''}",
    "",
    doc.strip(),
  ]
  for heading, group in options_lib.describe(options).items():
    lines += ["", f"{heading}:"]
    for flag in group:
      lines += _flag_lines(flag)
  lines += ["", *_rows("-h, --help", "print this help")]
  return "\n".join(lines)


def _flag_lines(flag: options_lib.Flag) -> list[str]:
  short = f"-{flag.short}, " if flag.short else ""
  value = "" if flag.value is None else f"={flag.value}"
  default = flag.default
  if isinstance(default, tuple):
    default = ",".join(map(str, default))
  if isinstance(default, float):
    default = f"{default:g}"
  shown = "" if default is None else f" (default: {default})"
  return _rows(f"{short}--{flag.name}{value}", flag.help + shown)


def _rows(left: str, right: str) -> list[str]:
  first, *rest = textwrap.wrap(
    right,
    _WIDTH - _COLUMN,
    break_on_hyphens=False,
    break_long_words=False,
  )
  indent = " " * _COLUMN
  head = f"  {left}"
  lines = (
    [f"{head:<{_COLUMN}}{first}"]
    if len(head) < _COLUMN
    else [head, indent + first]
  )
  return lines + [indent + line for line in rest]
