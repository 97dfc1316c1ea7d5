"""Large arrays in pages of 2 MB instead of 4 KB, which Linux gives on request.

XLA's CPU client allocates a program's arrays anew at each run, and the system
maps and clears every page of them. With huge pages there are 512 times fewer,
and the processor finds their addresses faster (docs/performance.md).

On many distributions a program must ask for them. glibc asks if a variable of
the environment says so, which it reads only when the process starts.
"""

import getopt
import os
from pathlib import Path
import sys

_VARIABLE = "GLIBC_TUNABLES"
_TUNABLE = "glibc.malloc.hugetlb"
_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_FIRST_GLIBC = (2, 35)
# Python's own, before the script or with -m. -c is none of them: what it runs
# is another program.
_PYTHON_OPTIONS = "bBdEiIm:OPqRsSuvW:xX:", ["check-hash-based-pycs="]


def use_huge_pages() -> None:
  """Starts this process anew with huge pages, if they are to be asked for.

  Call it before anything is printed or imported for long. The process keeps its
  number, files and arguments. It returns, and changes nothing, if the system or
  the C library has no such pages or gives them unasked, if `GLIBC_TUNABLES`
  already says whether to ask, or if the process was not started as
  `python SCRIPT …` or `python -m MODULE …` (Python's own options may stand
  before that) with the present `sys.argv`: a command that is called from within
  another program must not restart that.
  """
  tunables = os.environ.get(_VARIABLE, "")
  if _TUNABLE in tunables or not _on_request() or not _is_whole_process():
    return
  parts = [*filter(None, [tunables]), f"{_TUNABLE}=1"]
  environment = os.environ | {_VARIABLE: ":".join(parts)}
  try:
    os.execve(sys.executable, sys.orig_argv, environment)
  except OSError:
    pass  # for example, the interpreter was moved since


def _on_request() -> bool:
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
