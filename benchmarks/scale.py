"""Measures the time to draw a batch as a function of the number of crops.

  python -m benchmarks.scale
  python -m benchmarks.scale --most=1000000

The crops are synthetic. Prints the median for each number of crops, and the
exponent of the growth (slope of log time over log size): 0 if the time is
constant, 1 if it is proportional to the number of crops.
"""

import argparse
import json
from pathlib import Path
import statistics
import time

import jax
import numpy as np

from bamjax.data.sampling import plan

_BATCH, _PATCH = 16, 48


def drawing_seconds(crops: int, rounds: int) -> list[float]:
  """Returns the seconds for each of `rounds` batches of 16 samples."""
  sizes = jax.device_put(np.full((crops, 2), 2 * _PATCH, np.int32))
  found = []
  for step in range(rounds + 1):
    start = time.perf_counter()
    samples = plan(
      np.int32(0), np.int32(step), sizes, batch_size=_BATCH, patch=_PATCH
    )
    jax.block_until_ready(samples)
    found.append(time.perf_counter() - start)
  return found[1:]  # the first compiles


def exponent(sizes: list[int], seconds: list[float]) -> float:
  """Returns the least-squares slope of log seconds over log size."""
  return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def main():
  """Measures and prints the times."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--most", type=int, default=10**7, help="maximum number of crops"
  )
  parser.add_argument(
    "--rounds", type=int, default=200, help="batches per number of crops"
  )
  parser.add_argument("--output", type=Path, help="a JSON file")
  args = parser.parse_args()

  sizes = [n for n in (10**k for k in range(3, 10)) if n <= args.most]
  medians = []
  for crops in sizes:
    medians.append(statistics.median(drawing_seconds(crops, args.rounds)))
    print(f"{crops:>12,} crops  {1e3 * medians[-1]:8.3f} ms a batch")
  result = {
    "device": jax.devices()[0].device_kind,
    "drawing": dict(zip(sizes, medians, strict=True)),
  }
  if len(sizes) > 1:
    result["exponent"] = exponent(sizes, medians)
    print(f"time grows as the number of crops to the {result['exponent']:.2f}")
  if args.output:
    args.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
  main()
