"""Memory of the host, within the limits of a container, and of devices."""

from collections.abc import Iterator
import contextlib
from pathlib import Path
from typing import NamedTuple

import jax
import psutil

# Where Linux lists a process's control groups, and where it mounts them.
_MEMBERSHIP = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")


class Memory(NamedTuple):
  """Sizes in bytes.

  Attributes:
    total: all that this process may use, including what is in use already.
    available: what can be allocated now; on the host, without swapping.
  """

  total: int
  available: int


def host_memory() -> Memory:
  """Main memory, at most as much as each enclosing control group allows."""
  machine = psutil.virtual_memory()
  total, available = machine.total, machine.available
  for limit, used in _limits():
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


def _limits() -> Iterator[tuple[int, int]]:
  """Limit and usage in bytes of the process's control groups (v1 and v2).

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
    elif "memory" in controllers.split(","):
      root = _MOUNT / "memory"
      names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    else:
      continue
    group = root / path.lstrip("/")
    # In a container, the path may be the host's, and only the root exist.
    for folder in (group, *group.parents):
      if folder.is_relative_to(root):
        # ValueError: the limit is "max".
        with contextlib.suppress(OSError, ValueError):
          limit, used = (int((folder / name).read_text()) for name in names)
          yield limit, used
