"""Memory of the host, within the limits of a container, and of devices."""

from collections.abc import Container
from collections.abc import Iterator
import contextlib
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import jax
import psutil

from bamjax.errors import UserError

resource: ModuleType | None
try:
  import resource
except ImportError:  # only Unix has it
  resource = None

# Where Linux lists a process's control groups, and where it mounts them.
_MEMBERSHIP = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")

# Bytes that compiling PAN-BAM takes, and those with which tiles remain small.
_COMPILING, _LEAST = 150e6, 25e6


class Memory(NamedTuple):
  """Sizes in bytes.

  Attributes:
    total: all that this process may use, including what is in use already.
    available: what can be allocated now; on the host, without swapping.
  """

  total: int
  available: int


def host_memory() -> Memory:
  """Main memory, at most as much as control groups and `ulimit -v` allow."""
  machine = psutil.virtual_memory()
  total, available = machine.total, machine.available
  for limit, used in (*_limits(), *_address_space()):
    total = min(total, limit)
    available = min(available, max(limit - used, 0))
  return Memory(total, available)


def device_memory() -> Memory | None:
  """Memory of the first local device; None if it uses the host's, as CPUs do.

  JAX may use less than the device has: `XLA_PYTHON_CLIENT_MEM_FRACTION`.
  """
  stats = jax.local_devices()[0].memory_stats() or {}
  if "bytes_limit" not in stats:
    return None
  total = stats["bytes_limit"]
  return Memory(total, total - stats.get("bytes_in_use", 0))


def spare_memory() -> float:
  """Bytes that the feature maps of a network may take now.

  Raises:
    UserError: hardly any memory is left.
  """
  device = device_memory()
  if device is not None:
    return 0.9 * device.available
  free = host_memory().available
  spare = (free - _COMPILING) / 2
  if spare < _LEAST:
    raise UserError(
      f"{free / 1e6:.0f} MB of memory are free, and upscaling needs"
      f" {(_COMPILING + 2 * _LEAST) / 1e6:.0f} MB: allow this process or"
      " container more"
    )
  return spare


def _address_space() -> Iterator[tuple[int, int]]:
  """What `ulimit -v` leaves, of which nothing is in use.

  Libraries reserve a gigabyte and more of addresses that take no memory.
  """
  if resource is None:
    return
  limit, _ = resource.getrlimit(resource.RLIMIT_AS)
  if limit != resource.RLIM_INFINITY:
    yield max(limit - psutil.Process().memory_info().vms, 0), 0


def _limits() -> Iterator[tuple[int, int]]:
  """Limit and usage in bytes of the process's control groups (v1 and v2).

  Files that the system keeps in memory as long as nobody needs it don't count.
  Groups without a limit are skipped, as are systems without groups. An
  unlimited group of version 1 has a limit of nearly 2⁶³.
  """
  try:
    lines = _MEMBERSHIP.read_text().splitlines()
  except OSError:
    return
  for line in lines:
    _, controllers, path = line.split(":", 2)
    if not controllers:
      root, names = _MOUNT, ("memory.max", "memory.current")
      cached = ("inactive_file", "active_file")
    elif "memory" in controllers.split(","):
      root = _MOUNT / "memory"
      names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
      cached = ("total_inactive_file", "total_active_file")
    else:
      continue
    group = root / path.lstrip("/")
    # In a container, the path may be the host's, and only the root exist.
    for folder in (group, *group.parents):
      if folder.is_relative_to(root):
        # ValueError: the limit is "max".
        with contextlib.suppress(OSError, ValueError):
          limit, used = (int((folder / name).read_text()) for name in names)
          yield limit, max(used - _sum(folder / "memory.stat", cached), 0)


def _sum(path: Path, names: Container[str]) -> int:
  """Sum of some of a file's numbers, a name and a number a line."""
  try:
    lines = path.read_text().splitlines()
  except OSError:
    return 0
  numbers = (line.split() for line in lines)
  return sum(int(value) for name, value in numbers if name in names)
