"""How every command starts: flags are parsed, mistakes become one line."""

from collections.abc import Sequence
import difflib
import errno
import faulthandler
import importlib
import logging as std_logging
import os
from pathlib import Path
import re
import sys
import threading
from types import ModuleType
from typing import Any
from typing import NoReturn

from absl import flags
from absl import logging

import bamjax
from bamjax import terminal
from bamjax.commands import config_flag
from bamjax.commands import options as options_lib
from bamjax.commands import process
from bamjax.commands import usage
from bamjax.errors import UserError

# Each is a module of this package: its docstring, the dataclass `Options` of
# its flags, and `run(options)`, which returns the exit status or None.
COMMANDS = (
  "train",
  "evaluate",
  "ablate",
  "benchmark",
  "upscale",
  "export",
  "report",
)

_HELP = ("-h", "-help", "--help", "help")

# Letters that only some commands have.
_SHORT = {"o": "output", "s": "scale"}

# Those that run the same program for minutes. A photograph is upscaled as fast
# without huge pages (docs/performance.md).
_LASTING = ("train", "ablate", "benchmark")

# Loggers of other packages: the first two log errors that are raised as well,
# the last logs shapes that it omits from an ONNX file.
_QUIET = ("asyncio", "tifffile", "onnx_ir")

# What Python and absl say of a flag's value of another type, and what we say.
_TYPES = {
  r"invalid literal for int\(\) with base \d+: .*": "expected a whole number",
  r"could not convert string to float: .*": "expected a number",
  r"\('Non-boolean argument to boolean flag', .*\)": "expected true or false",
}

# errno values of storage problems.
_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)


def main() -> NoReturn:
  """Runs `bamjax`: a command, help or --version."""
  terminal.make_lasting(warn=False)
  first, *rest = sys.argv[1:] or [""]
  if first in _HELP and rest and not rest[0].startswith("-"):
    first, rest = rest[0], ["--help"]
  if first in COMMANDS:
    run(first, f"bamjax {first}", rest)
  if first in ("", *_HELP):
    print(
      usage.of_program({name: _summary(name) for name in COMMANDS}),
      file=sys.stdout if first else sys.stderr,
    )
    sys.exit(0 if first else 2)
  if first == "--version":
    _print_versions()
    sys.exit(0)
  kind = "flag" if first.startswith("-") else "command"
  known = (*COMMANDS, "--help", "--version")
  close = difflib.get_close_matches(first, known, n=1)
  advice = f"did you mean {close[0]}?" if close else f"use {_listed(COMMANDS)}"
  _fail("bamjax", f"unknown {kind} {first!r}; {advice} (bamjax --help)")


def run(
  name: str,
  program: str | None = None,
  arguments: Sequence[str] | None = None,
) -> NoReturn:
  """Runs a command.

  Args:
    name: one of `COMMANDS`.
    program: what error lines begin with; by default the script's file name.
    arguments: the command line after the program; by default that of the
      script.
  """
  program = Path(sys.argv[0]).name if program is None else program
  arguments = sys.argv[1:] if arguments is None else arguments
  if name in _LASTING and not _asks_for_help(arguments):
    process.use_huge_pages()
  module = importlib.import_module(f"bamjax.commands.{name}")
  run_module(module, program, arguments)


def run_module(
  module: ModuleType, program: str, arguments: Sequence[str]
) -> NoReturn:
  """Parses a command's flags and runs it.

  A `UserError`, an unknown flag or an invalid value ends the process with one
  line, `PROGRAM: error: MESSAGE`, on stderr and exit status 2. Any other
  exception is a bug and keeps its traceback. Failing to print ends nothing.

  Args:
    module: has `Options` and `run`; and `start(options)` if something has to
      happen before JAX is used.
    program: how the user calls it: "bamjax train", "train.py".
    arguments: the command line after it.
  """
  if _asks_for_help(arguments):
    terminal.make_lasting(warn=False)
    name = module.__name__.rpartition(".")[2]
    print(usage.of_command(program, name, module.__doc__ or "", module.Options))
    sys.exit(0)
  logging.use_absl_handler()  # replaces handlers that log to today's stderr
  terminal.make_lasting()
  faulthandler.enable()
  options = parse(module.Options, program, arguments)
  flags.FLAGS.mark_as_parsed()  # absl's own, which its logging reads
  _set_up_logging()
  process.keep_memory()
  process.ignore_odd_metadata()
  try:
    if hasattr(module, "start"):
      module.start(options)
    process.check_address_space()
    process.check_devices()
    process.keep_compiled()
    process.unwind()
    process.handle_signals()
    sys.exit(module.run(options))
  except KeyboardInterrupt:
    process.end_interrupted()
  except Exception as error:
    # What it was turned into, for example in an extension module's import.
    if process.was_interrupted():
      process.end_interrupted()
    _explain(program, error)
    raise


def _explain(program: str, error: Exception) -> None:
  """Ends the process with one line if an error isn't a bug."""
  if isinstance(error, UserError):
    _fail(program, str(error))
  if isinstance(error, OSError):
    if error.errno not in _STORAGE:
      return
    where = f"{error.filename}: " if error.filename else ""
    _fail(
      program,
      f"{where}{error.strerror}; fix that, then run the same command again",
    )


def _summary(name: str) -> str:
  """The first line of a command's description."""
  doc = importlib.import_module(f"bamjax.commands.{name}").__doc__ or ""
  return doc.partition("\n")[0].rstrip(".")


def _listed(names: Sequence[str]) -> str:
  return f"{', '.join(names[:-1])} or {names[-1]}"


def _print_versions() -> None:
  print(f"bamjax {bamjax.__version__}", flush=True)
  # Imported here so that the other commands do not wait for it.
  from bamjax.benchmarking.machine import environment

  try:
    process.check_devices()
  except UserError as error:
    _fail("bamjax", str(error))
  found = environment()
  print(f"jax {found['jax']}, jaxlib {found['jaxlib']}")
  print(f"device: {found['device']} ({found['platform']})")


def _fail(program: str, message: str) -> NoReturn:
  """Prints one line to stderr and exits with status 2."""
  # What threads and destructors still try, such as writing to the same full
  # disk, fails for the reason that is printed here.
  sys.unraisablehook = lambda _: None
  threading.excepthook = lambda _: None
  message = terminal.plain(" ".join(message.split()))
  print(f"{program}: error: {message}", file=sys.stderr)
  sys.exit(2)


def _asks_for_help(arguments: Sequence[str]) -> bool:
  named = list(arguments)
  if "--" in named:
    named = named[: named.index("--")]
  return not {"-h", "-help", "--help"}.isdisjoint(named)


def parse(options: type, program: str, arguments: Sequence[str]) -> Any:
  """Returns the instance of `options` that the command line describes.

  A mistake ends the process with one line and exit status 2.

  Args:
    options: a command's class of flags.
    program: what the line begins with.
    arguments: the command line after the program.
  """
  values = flags.FlagValues()
  inputs = options_lib.positionals(options)
  values.set_gnu_getopt(inputs is not None)
  arguments = _expand_home(arguments)
  try:
    options_lib.define(options, values, arguments)
    _, *rest = values([program, *arguments])
    config_flag.resolve(values)
  except flags.UnrecognizedFlagError as error:
    instead = _SHORT | getattr(options, "instead", {})
    ours = instead.get(error.flagname)
    if ours and ours in values:
      given = f"{'-' if len(error.flagname) == 1 else '--'}{error.flagname}"
      _fail(program, f"there is no {given}; use --{ours} (--help)")
    message = str(error)
    name = error.flagname.removeprefix("config.")
    if "config" in values and (advice := config_flag.hint(name)):
      # Its guess is another flag.
      message = message.partition(". Did you mean")[0] + advice
    if "config" in values and name != error.flagname:
      message = f"the configuration has no field {name!r}{advice}"
    _fail(program, f"{message} (--help lists the flags)")
  except flags.Error as error:
    message = str(error)
    for theirs, ours in _TYPES.items():
      message = re.sub(theirs, ours, message, flags=re.DOTALL)
    _fail(program, f"{message} (--help lists the flags)")
  except UserError as error:
    _fail(program, str(error))
  if rest and inputs is None:
    _fail(program, f"unexpected argument {rest[0]!r} (--help lists the flags)")
  return options_lib.collect(options, values, rest)


def _expand_home(arguments: Sequence[str]) -> list[str]:
  """Expands ~ also where shells leave it: in `--flag=~/x` and after commas."""

  def expand(text: str) -> str:
    return os.path.expanduser(text) if text.startswith("~") else text

  expanded = []
  for argument in arguments:
    flag = re.match(r"--?[\w.-]+=", argument)
    if flag:
      parts = argument[flag.end() :].split(",")
      expanded.append(flag[0] + ",".join(map(expand, parts)))
    else:
      expanded.append(expand(argument))
  return expanded


class _Plain(std_logging.Formatter):
  """ "warning: …", without the thread and the line of code."""

  def format(self, record: std_logging.LogRecord) -> str:
    return f"{record.levelname.lower()}: {terminal.plain(record.getMessage())}"


def _set_up_logging() -> None:
  logging.set_verbosity(logging.WARNING)
  handler = logging.get_absl_handler()
  handler.setFormatter(_Plain())
  # Orbax, too, logs errors that it raises.
  handler.addFilter(
    lambda r: (
      "orbax" not in r.pathname and r.name.partition(".")[0] not in _QUIET
    )
  )
  sys.unraisablehook = _report_unraisable


def _report_unraisable(unraisable: Any) -> None:
  """Python's own hook, without the aftermath of a checkpoint that failed.

  The first read or write that fails ends Orbax's event loop. Each pending one
  then reports that with a traceback, while the failure itself is reported by
  us. A coroutine that is still waiting is ended with garbage collection. A
  Ctrl-C within a callback is repeated outside.
  """
  if isinstance(unraisable.exc_value, KeyboardInterrupt):
    process.interrupt_again()
    return
  code = getattr(unraisable.object, "cr_code", None)
  pending = code is not None and "orbax" in code.co_filename
  if not pending and str(unraisable.exc_value) != "Event loop is closed":
    sys.__unraisablehook__(unraisable)
