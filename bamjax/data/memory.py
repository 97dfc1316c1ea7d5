"""How much memory there is to take."""

import contextlib
import os
from pathlib import Path


def available_memory() -> int:
  """Bytes of main memory that can be taken without swapping.

  A container's limit counts, where there is one (cgroup v2).
  """
  found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
  with contextlib.suppress(OSError, ValueError):
    for line in Path("/proc/meminfo").read_text().splitlines():
      # Caches count as free here, unlike above.
      if line.startswith("MemAvailable:"):
        found = 1024 * int(line.split()[1])
  with contextlib.suppress(OSError, ValueError):
    group = Path("/sys/fs/cgroup")
    limit = int((group / "memory.max").read_text())
    used = int((group / "memory.current").read_text())
    found = min(found, max(limit - used, 0))
  return found
