"""How every script starts: flags are read, mistakes are told in one line."""

from collections.abc import Callable
from collections.abc import Sequence
import ctypes
import errno
import functools
import hashlib
import logging as std_logging
import os
from pathlib import Path
import platform
import re
import sys
import threading
from typing import Any
from typing import NoReturn

from absl import app
from absl import flags
from absl import logging

from bamjax import terminal
from bamjax.commands import config_flag
from bamjax.errors import UserError

# What ails a disk, not a program.
_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)

# Numbers of mallopt's parameters in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def _fail(message: str) -> NoReturn:
  """Writes one line to stderr and exits with status 2."""
  script = Path(sys.argv[0]).name
  # What others still try at exit, as to write to the same full disk, fails for
  # the reason that is told here.
  sys.unraisablehook = threading.excepthook = lambda _: None
  message = terminal.plain(" ".join(message.split()))
  print(f"{script}: error: {message}", file=sys.stderr)
  sys.exit(2)


def _expand_home() -> None:
  """Expands ~ in arguments and flags: shells leave `--flag=~/x` as it is."""

  def expand(text):
    return os.path.expanduser(text) if text.startswith("~") else text

  for i, argument in enumerate(sys.argv[1:], 1):
    flag = re.match(r"--?[\w.-]+=", argument)
    if flag:
      values = argument[flag.end() :].split(",")
      sys.argv[i] = flag[0] + ",".join(map(expand, values))
    else:
      sys.argv[i] = expand(argument)


def define_config(default: str, help_text: str) -> flags.FlagHolder:
  """Defines --config, a file of ml_collections, and --config.FIELD=VALUE.

  Args:
    default: path of the default configuration file.
    help_text: what --help says of the flag.

  Returns:
    The flag; its `.value` is the resolved `ConfigDict`.
  """
  _expand_home()  # what it looks up reads them before `run` does
  try:
    return config_flag.define(default, help_text)
  except UserError as error:
    _fail(str(error))


def _parse_flags(argv: Sequence[str], positional: bool = False) -> list[str]:
  try:
    flags.FLAGS.set_gnu_getopt(positional)
    with config_flag.fields_told():
      rest = flags.FLAGS(argv)
    config_flag.check()
  except flags.UnrecognizedFlagError as error:
    told = config_flag.hint(error.flagname)
    _fail(f"{error}{told} (--help lists the flags)")
  except (flags.Error, UserError) as error:
    _fail(f"{error} (--help lists the flags)")
  if len(rest) > 1 and not positional:
    _fail(f"unexpected argument {rest[1]!r} (--help lists the flags)")
  return rest


def _check_devices() -> None:
  """Finds the devices.

  Raises:
    UserError: there are none of those that are asked for.
  """
  import jax

  try:
    jax.devices()
  # JAX asserts that a platform that is asked for has any.
  except (RuntimeError, AssertionError) as error:
    asked, reason = jax.config.jax_platforms, str(error).partition(" (set ")[0]
    if not asked or (reason and "Unable to initialize" not in reason):
      raise
    try:
      jax.config.update("jax_platforms", "")
      found = ", ".join(sorted({device.platform for device in jax.devices()}))
    except (RuntimeError, AssertionError):
      found = "none"
    raise UserError(
      f"JAX_PLATFORMS={asked}: there is no such device for JAX"
      f"{f' ({reason})' if reason else ''}; there is: {found}. Unset"
      " JAX_PLATFORMS to use that, or install what is missing, for NVIDIA"
      " pip install -U 'jax[cuda13]' (or 'jax[cuda12]')"
    ) from None


def _keep_compiled() -> None:
  """Keeps compiled programs between runs, where JAX has no folder for it yet.

  A folder for each kind of processor: XLA compiles for the one at hand, and a
  home may be shared by several. None where oneDNN convolves, whose programs
  cannot be kept, and are compiled in a second or two.
  """
  import jax

  from bamjax.layers.cpu import onednn

  if jax.config.jax_compilation_cache_dir or onednn.usable():
    return
  try:
    processor = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    processor = re.search(r"^flags.*$", processor, re.MULTILINE)[0]
  except (OSError, TypeError):
    processor = platform.processor()
  kind = hashlib.sha256(f"{platform.machine()} {processor}".encode())
  try:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(root) / "bamjax" / f"xla-{kind.hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
  except (OSError, RuntimeError):
    return  # no home, as some containers' users, or one on a disk to read
  if not os.access(folder, os.W_OK):
    return
  jax.config.update("jax_compilation_cache_dir", str(folder))
  # All of them: a benchmark compiles many programs that are quick each.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def keep_memory() -> None:
  """Lets glibc keep the memory that a program gives back.

  XLA's CPU client asks for a program's arrays anew at each run. What glibc maps
  for that, and unmaps again, costs a page fault every 4 KiB: up to half of the
  time of a network.
  """
  try:
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, 2**30)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
  except (AttributeError, OSError, TypeError):
    pass  # another C library, which has its own ways


class _Plain(std_logging.Formatter):
  """ "warning: …", without the thread and the line of code."""

  def format(self, record: std_logging.LogRecord) -> str:
    return f"{record.levelname.lower()}: {terminal.plain(record.getMessage())}"


def _tell_unraisable(unraisable: Any) -> None:
  """Python's own, without what follows from a checkpoint on a full disk.

  The first write that fails ends Orbax's event loop, and each that was under
  way tells so then, with a traceback; the failure itself is told by us.
  """
  if str(unraisable.exc_value) != "Event loop is closed":
    sys.__unraisablehook__(unraisable)


def run(
  main: Callable[[Sequence[str]], Any],
  *,
  positional: bool = False,
  start: Callable[[], Any] = lambda: None,
) -> NoReturn:
  """Runs a script's `main(argv)` by `absl.app.run`.

  Arguments that are no flags are a mistake, unless `positional`: then they may
  stand before, between and after the flags, and are `argv[1:]`. What `main`
  returns is the exit status, None being 0. `start` is called before JAX is
  used.

  A `UserError`, an unknown flag or a flag's bad value ends the script with one
  line, `SCRIPT: error: MESSAGE`, on stderr and exit status 2. Any other
  exception is a bug and keeps its traceback. What cannot be printed ends
  nothing.
  """

  def guarded(argv):
    logging.set_verbosity(logging.WARNING)
    handler = logging.get_absl_handler()
    handler.setFormatter(_Plain())
    # Their errors come again as exceptions, and are told then.
    handler.addFilter(
      lambda r: "orbax" not in r.pathname and r.name != "asyncio"
    )
    sys.unraisablehook = _tell_unraisable
    keep_memory()
    try:
      start()
      _check_devices()
      _keep_compiled()
      return main(argv)
    except UserError as error:
      _fail(str(error))
    except KeyboardInterrupt:
      print("interrupted", file=sys.stderr)
      sys.exit(130)
    except OSError as error:
      if error.errno not in _STORAGE:
        raise
      where = f"{error.filename}: " if error.filename else ""
      _fail(
        f"{where}{error.strerror}; mend that, then give the same command again"
      )

  logging.use_absl_handler()  # in place of what else logs to today's stderr
  terminal.make_lasting()
  _expand_home()
  parser = functools.partial(_parse_flags, positional=positional)
  app.run(guarded, flags_parser=parser)
