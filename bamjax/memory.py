"""How much memory there is to take."""

import contextlib
from pathlib import Path

import psutil


def available_memory() -> int:
  """Bytes of main memory that can be taken without swapping.

  A container's limit counts, where there is one (cgroup v2).
  """
  found = psutil.virtual_memory().available
  with contextlib.suppress(OSError, ValueError):
    group = Path("/sys/fs/cgroup")
    limit = int((group / "memory.max").read_text())
    used = int((group / "memory.current").read_text())
    found = min(found, max(limit - used, 0))
  return found
