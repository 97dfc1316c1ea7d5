"""Settings of a command's process: devices, compiled programs, memory."""

import ctypes
import hashlib
import os
from pathlib import Path
import platform
import re
import warnings

from bamjax.errors import UserError

# Numbers of mallopt's parameters in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

# Address space within which upscaling works on two cores, in bytes. With
# 1.6 GB, OpenBLAS fails; with 1.4 GB, XLA aborts.
_ADDRESSES = 2e9


def ignore_odd_metadata() -> None:
  """Ignores Pillow's warnings of odd metadata and of large images.

  Once, before there are threads: `warnings.catch_warnings` is not for them.
  """
  warnings.filterwarnings("ignore", module=r"PIL\.")


def check_address_space() -> None:
  """Checks `ulimit -v`, within which the libraries would abort.

  Raises:
    UserError: it is too low.
  """
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
  try:
    first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
  except OSError:
    first = ""
  instructions = re.search(r"^flags.*$", first, re.MULTILINE)
  return instructions[0] if instructions else platform.processor()


def keep_memory() -> None:
  """Makes glibc reuse freed memory instead of returning it to the system.

  XLA's CPU client allocates a program's arrays anew at each run. Mapping and
  unmapping them costs a page fault every 4 KiB: up to half of the time of a
  network.
  """
  try:
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, 2**30)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
  except (AttributeError, OSError, TypeError):
    pass  # another C library
