"""A command's process: what it sets up for itself, and why.

- It begins (`main`, `run`) before longer imports, so that Ctrl-C is handled
  during them.
- Signals: after Ctrl-C, it ends with one line, status 130, and no traceback.
  SIGTERM, or a closed terminal, ends it at once, and leaves no part of a file.
  Python's own handler raises KeyboardInterrupt wherever the program is. In the
  import of an extension module that ends in its errors or in a crash; in a
  callback, such as JAX's at garbage collection, it is printed and forgotten;
  and Python's shutdown can crash while XLA's threads still run a program.
- Memory: XLA's CPU client allocates a program's arrays anew at each run. The
  system maps and clears every page of them: up to half of the time of a
  network, unless glibc keeps the memory (`keep_memory`), and less in pages of
  2 MB instead of 4 KB (`use_huge_pages`, docs/performance.md).
- Limits, devices and compiled programs: what would end in an abort or in a
  traceback is one line, and programs are compiled once per machine.

The library itself changes no such thing.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import os
from pathlib import Path
import re
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

# Longer imports are in the functions: before `end_at_once`, Ctrl-C leads to a
# traceback.

_INTERRUPTED = 128 + signal.SIGINT
_AGAIN_AFTER = 0.05  # seconds

_TUNABLES = "GLIBC_TUNABLES"
_HUGE_PAGES = "glibc.malloc.hugetlb"
_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_FIRST_GLIBC = (2, 35)
# Python's own, before the script or with -m. -c is none of them: what it runs
# is another program.
_PYTHON_OPTIONS = "bBdEiIm:OPqRsSuvW:xX:", ["check-hash-based-pycs="]

# Numbers of mallopt's parameters in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

# Address space within which upscaling works on two cores, in bytes. With
# 1.6 GB, OpenBLAS fails; with 1.4 GB, XLA aborts.
_ADDRESSES = 2e9

_ours = False  # whether this process is a command's, not another program's
_happened = False
_parts: set[Path] = set()  # those of files that are being written


def main() -> NoReturn:
  """Runs the program `bamjax`, see `cli.main`."""
  end_at_once()
  from bamjax.commands import cli

  cli.main()


def run_script(name: str) -> NoReturn:
  """Runs a command as a script, see `cli.run`."""
  end_at_once()
  from bamjax.commands import cli

  cli.run(name)


def end_at_once() -> None:
  """From now on, Ctrl-C ends the process immediately.

  For the time before a command has begun anything, while modules are imported.
  Does nothing where Ctrl-C is ignored, as in a shell's background jobs.
  """
  global _ours
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    _ours = True
    signal.signal(signal.SIGINT, lambda *_: end_interrupted())


def unwind() -> None:
  """From now on, Ctrl-C raises KeyboardInterrupt, so that work is cleaned up.

  Does nothing if `end_at_once` was not called or did nothing.
  """
  if _ours:
    signal.signal(signal.SIGINT, _raise_interrupt)


def handle_signals() -> None:
  """From now on, the library's long work and its files learn of signals."""
  from bamjax import files  # a longer import
  from bamjax import stopping

  files.guard = _removed_if_ended
  stopping.caught = _passed_on


@contextlib.contextmanager
def _passed_on(
  handle: Callable[[int], bool], terminate: bool
) -> Iterator[None]:
  """See `stopping.caught`."""

  def catch(number: int, frame: FrameType | None) -> None:
    del frame
    if handle(number):
      signal.signal(signal.SIGINT, signal.SIG_DFL)

  numbers = [signal.SIGINT, *([signal.SIGTERM] if terminate else [])]
  # The terminal was closed. Windows has no SIGHUP, and nohup ignores it.
  hangup = getattr(signal, "SIGHUP", None)
  if hangup and signal.getsignal(hangup) != signal.SIG_IGN:
    numbers.append(hangup)
  before = [signal.signal(number, catch) for number in numbers]
  try:
    yield
  finally:
    for number, handler in zip(numbers, before, strict=True):
      signal.signal(number, handler)


@contextlib.contextmanager
def _removed_if_ended(part: Path) -> Iterator[None]:
  """Removes a file if SIGTERM, or a closed terminal, ends the process.

  Only while the context is open, so that at any other time these signals end it
  without waiting for the Python interpreter.
  """
  caught: list[int] = []
  _parts.add(part)
  # Python allows handlers in the main thread only.
  if threading.current_thread() is threading.main_thread() and not _is_jaxs():
    for name in ("SIGTERM", "SIGHUP"):
      number = getattr(signal, name, None)  # Windows has no SIGHUP
      if number and signal.getsignal(number) == signal.SIG_DFL:
        signal.signal(number, _end_without_parts)
        caught.append(number)
  try:
    yield
  finally:
    for number in caught:
      signal.signal(number, signal.SIG_DFL)
    _parts.discard(part)


def _is_jaxs() -> bool:
  """Whether JAX handles SIGTERM, which Python does not know of.

  It lets several processes that train together stop after the same step.
  """
  jax = sys.modules.get("jax")
  return jax is not None and jax.distributed.is_initialized()


def _end_without_parts(number: int, frame: FrameType | None) -> None:
  del frame
  for part in tuple(_parts):
    with contextlib.suppress(OSError):
      part.unlink()
  signal.signal(number, signal.SIG_DFL)
  os.kill(os.getpid(), number)


def was_interrupted() -> bool:
  """Whether Ctrl-C has raised KeyboardInterrupt; it may have become another."""
  return _happened


def interrupt_again() -> None:
  """Repeats a KeyboardInterrupt that ended nowhere, out of a callback."""
  if _ours:
    timer = threading.Timer(_AGAIN_AFTER, os.kill, (os.getpid(), signal.SIGINT))
    timer.daemon = True
    timer.start()


def end_interrupted() -> NoReturn:
  """Prints "interrupted" and ends the process with status 130.

  A command's process ends without Python's shutdown.
  """
  if not _ours:
    print("interrupted", file=sys.stderr)
    sys.exit(_INTERRUPTED)
  for stream in (sys.stdout, sys.stderr):
    try:
      stream.flush()
    except (AttributeError, OSError, RuntimeError, ValueError):
      pass  # closed, or interrupted while it was written
  try:
    os.write(2, b"interrupted\n")
  except OSError:
    pass
  os._exit(_INTERRUPTED)


def _raise_interrupt(number: int, frame: FrameType | None) -> NoReturn:
  del number, frame
  global _happened
  _happened = True
  raise KeyboardInterrupt


def use_huge_pages() -> None:
  """Starts this process anew with huge pages, if they are to be asked for.

  On many distributions a program must ask for them. glibc asks if a variable of
  the environment says so, which it reads only when the process starts.

  Call it before anything is printed or imported for long. The process keeps its
  number, files and arguments. It returns, and changes nothing, if the system or
  the C library has no such pages or gives them unasked, if `GLIBC_TUNABLES`
  already says whether to ask, or if the process was not started as
  `python SCRIPT …` or `python -m MODULE …` (Python's own options may stand
  before that) with the present `sys.argv`: a command that is called from within
  another program must not restart that.
  """
  tunables = os.environ.get(_TUNABLES, "")
  if (
    _HUGE_PAGES in tunables
    or not _gives_huge_pages()
    or not _is_whole_process()
  ):
    return
  parts = [*filter(None, [tunables]), f"{_HUGE_PAGES}=1"]
  environment = os.environ | {_TUNABLES: ":".join(parts)}
  try:
    os.execve(sys.executable, sys.orig_argv, environment)
  except OSError:
    pass  # for example, the interpreter was moved since


def _gives_huge_pages() -> bool:
  """Whether Linux and glibc give huge pages to programs that ask for them."""
  try:
    library, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    numbers = tuple(map(int, version.split(".")[:2]))
    setting = _SETTING.read_text()
  except (AttributeError, OSError, ValueError):
    return False  # another system, or another C library
  return (
    library == "glibc" and numbers >= _FIRST_GLIBC and "[madvise]" in setting
  )


def _is_whole_process() -> bool:
  """Whether the interpreter was started to run this script, and no more."""
  import getopt

  _, *given = sys.orig_argv
  program, *arguments = sys.argv
  start = len(given) - len(arguments)
  if given[start:] != arguments:
    return False
  try:
    options, rest = getopt.getopt(given[:start], *_PYTHON_OPTIONS)
  except getopt.GetoptError:
    return False
  if any(name == "-m" for name, _ in options):
    return not rest
  return rest == [program]


def ignore_odd_metadata() -> None:
  """Ignores Pillow's warnings of odd metadata and of large images.

  Once, before there are threads: `warnings.catch_warnings` is not for them.
  """
  import warnings

  warnings.filterwarnings("ignore", module=r"PIL\.")


def check_address_space() -> None:
  """Checks `ulimit -v`, within which the libraries would abort.

  Raises:
    UserError: it is too low.
  """
  from bamjax.errors import UserError

  try:
    import resource
  except ImportError:  # only Unix has it
    return
  limit, _ = resource.getrlimit(resource.RLIMIT_AS)
  if limit != resource.RLIM_INFINITY and limit < _ADDRESSES:
    raise UserError(
      f"JAX reserves {_ADDRESSES / 1e9:g} GB of addresses, most of which take"
      f" no memory, and `ulimit -v` allows {limit / 1e9:.2g} GB: use ulimit -v"
      " unlimited, and limit memory by a container"
    )


def check_devices() -> None:
  """Starts JAX's backends.

  Raises:
    UserError: the platform of JAX_PLATFORMS has no device.
  """
  import jax

  from bamjax.errors import UserError

  try:
    jax.devices()
  # JAX asserts that a requested platform has devices.
  except (RuntimeError, AssertionError) as error:
    wanted = jax.config.values["jax_platforms"]
    reason = str(error).partition(" (set ")[0]
    if not wanted or (reason and "Unable to initialize" not in reason):
      raise
    try:
      jax.config.update("jax_platforms", "")
      found = ", ".join(sorted({device.platform for device in jax.devices()}))
    except (RuntimeError, AssertionError):
      found = "none"
    raise UserError(
      f"JAX_PLATFORMS={wanted}: JAX finds no such device"
      f"{f' ({reason})' if reason else ''}; available: {found}. Unset"
      " JAX_PLATFORMS to use that, or install the missing support, for NVIDIA"
      " pip install -U 'jax[cuda13]' (or 'jax[cuda12]')"
    ) from None


def keep_compiled() -> None:
  """Caches compiled programs on disk, unless JAX has a cache folder already.

  Each kind of processor has a folder: XLA compiles for the one at hand, and
  several machines may share a home. There is no cache where convolutions use
  oneDNN, whose programs cannot be cached and compile in a second or two.
  """
  import hashlib
  import platform

  import jax

  from bamjax.layers.cpu import onednn

  if jax.config.values["jax_compilation_cache_dir"] or onednn.usable():
    return
  kind = hashlib.sha256(f"{platform.machine()} {_processor()}".encode())
  try:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(root) / "bamjax" / f"xla-{kind.hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
  except (OSError, RuntimeError):
    return  # no home, as in some containers, or a read-only one
  if not os.access(folder, os.W_OK):
    return
  jax.config.update("jax_compilation_cache_dir", str(folder))
  # Programs that compile quickly too: a benchmark has many of them.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _processor() -> str:
  """The processor's instruction sets, or its name."""
  import platform

  try:
    first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
  except OSError:
    first = ""
  instructions = re.search(r"^flags.*$", first, re.MULTILINE)
  return instructions[0] if instructions else platform.processor()


def keep_memory() -> None:
  """Makes glibc reuse freed memory instead of returning it to the system."""
  import ctypes

  try:
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, 2**30)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
  except (AttributeError, OSError, TypeError):
    pass  # another C library
