"""Measures the time from a process's start to its first upscaled image.

  python -m benchmarks.cold_start
  python -m benchmarks.cold_start --weights=imdn_x2.safetensors --size=120

Each process imports bamjax, loads weights and upscales one image: the first
with an empty cache of compiled programs, the others with the cache that the
first one filled. Time for imports is also printed separately.
"""

import argparse
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import time

ROOT = Path(__file__).parent.parent

CHILD = """
import time
start = time.perf_counter()
import json, sys
import numpy as np
import bamjax
from bamjax.commands import process
imported = time.perf_counter()

# As in the commands.
process.keep_memory()
process.keep_compiled()
weights, size = sys.argv[1:]
upscale = bamjax.Upscaler(*bamjax.load_weights(weights))
upscale(np.zeros((int(size), int(size), 3), np.uint8))
heavy = sorted({"tensorflow", "torch"} & set(sys.modules))
print(json.dumps([imported - start, heavy]))
"""


def main() -> None:
  """Measures and prints the time of each start."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--weights", default="pan-bam-x2", help="shipped weights, or a file"
  )
  parser.add_argument("--size", type=int, default=200)
  parser.add_argument(
    "--runs", type=int, default=3, help="runs with a warm cache"
  )
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    cache = {"XDG_CACHE_HOME": folder, "PYTHONPATH": str(ROOT)}
    for i in range(args.runs + 1):
      start = time.perf_counter()
      done = subprocess.run(
        [sys.executable, "-c", CHILD, args.weights, str(args.size)],
        env=os.environ | cache,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
      )
      seconds = time.perf_counter() - start
      imported, heavy = json.loads(done.stdout)
      print(
        f"{'warm' if i else 'cold'} cache: {seconds:.2f} s, of which imports"
        f" {imported:.2f} s; heavy imports: {', '.join(heavy) or 'none'}"
      )


if __name__ == "__main__":
  main()
