"""Measures time and memory as the work grows, and the exponents of the growth.

  python -m benchmarks.scale
  python -m benchmarks.scale --parts crops images --most 10000
  python -m benchmarks.scale --output scale.json

The parts are: finding and decoding so many tiny images, as training does before
its first step; drawing a batch of 16 from so many crops; upscaling a photograph
of so many pixels; evaluating so many tiny images, by the command; and a step of
training on so many devices, at the same global batch (virtual devices, which
share the CPU's cores). All inputs are synthetic, the network is the shipped
PAN-BAM ×2. Each size runs in a process of its own, so that its peak of memory
is its own.

An exponent is the slope of log time over log size from the size before: 0 if
the time is constant, 1 if it is proportional to the size.
"""

import argparse
from collections.abc import Callable
import contextlib
import json
import math
import os
from pathlib import Path
import re
import statistics
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
import optax
from PIL import Image

import bamjax
from bamjax.commands import evaluate
from bamjax.data import cache
from bamjax.data import sources
from bamjax.data.crops import CropStore
from bamjax.data.sampling import plan
from bamjax.evaluation.tables import Table
from bamjax.files import write_atomically
from bamjax.training import parallel
from bamjax.training.state import create_state
from bamjax.training.step import train_step
from benchmarks import running

_BATCH, _PATCH = 16, 48
_ROUNDS = 200  # batches that are drawn
_STEPS = 5
_TINY = 32  # side of the HR images that are read or evaluated
_LONG = 20.0  # seconds of a call that need not be repeated to be measured
_DEVICES = "--xla_force_host_platform_device_count"


def read(images: int) -> float:
  """Returns the seconds in which so many images are found and decoded."""
  with tempfile.TemporaryDirectory() as folder:
    _write(Path(folder), images)
    start = time.perf_counter()
    source = sources.make_source("folder", 2, data_dir=folder)
    store = CropStore(cache.decode(source.train), _TINY // 4)
    store.fingerprint()
    return time.perf_counter() - start


def _write(folder: Path, images: int) -> None:
  """Writes so many tiny images into a folder."""
  rng = np.random.default_rng(0)
  for i in range(images):
    pixels = rng.integers(0, 256, (_TINY, _TINY, 3), np.uint8)
    Image.fromarray(pixels).save(folder / f"{i:06}.png", compress_level=1)


def draw(crops: int) -> float:
  """Returns the seconds in which a batch is drawn from so many crops."""
  sizes = jax.device_put(np.full((crops, 2), 2 * _PATCH, np.int32))
  found = []
  for step in range(_ROUNDS + 1):
    start = time.perf_counter()
    samples = plan(
      np.int32(0), np.int32(step), sizes, batch_size=_BATCH, patch=_PATCH
    )
    jax.block_until_ready(samples)
    found.append(time.perf_counter() - start)
  return statistics.median(found[1:])  # the first compiles


def upscale(pixels: int) -> float:
  """Returns the seconds in which a photograph of 3:2 is upscaled."""
  height = round((pixels / 1.5) ** 0.5)
  shape = (height, round(1.5 * height), 3)
  image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
  network = bamjax.Upscaler(*bamjax.load_weights("pan-bam-x2"), padded=True)
  for _ in range(2):  # the first compiles
    start = time.perf_counter()
    network(image)
    seconds = time.perf_counter() - start
    if seconds > _LONG:
      break
  return seconds


def score(images: int) -> float:
  """Returns the seconds in which so many images are evaluated."""
  with tempfile.TemporaryDirectory() as folder:
    data = Path(folder) / "images"
    data.mkdir()
    _write(data, images)
    start = time.perf_counter()
    options = evaluate.Options(
      weights=["pan-bam-x2"],
      benchmarks=[str(data)],
      output=str(Path(folder) / "results"),
    )
    if evaluate.run(options):
      raise RuntimeError("an image was left out")
    return time.perf_counter() - start


def train(devices: int) -> float:
  """Returns the seconds of a step on so many devices."""
  if jax.device_count() != devices:
    raise RuntimeError(f"{jax.device_count()} devices instead of {devices}")
  module = bamjax.create_model("pan", "bam", 2)
  state = create_state(module, optax.constant_schedule(1e-4), 0, _PATCH)
  state = parallel.replicate(state)
  step = parallel.parallelize(train_step)
  rng = np.random.default_rng(0)
  batch = {
    name: rng.integers(0, 256, (_BATCH, side, side, 3), np.uint8)
    for name, side in (("lr", _PATCH), ("hr", 2 * _PATCH))
  }
  found = []
  for _ in range(_STEPS + 1):
    start = time.perf_counter()
    state = step(state, batch)
    jax.block_until_ready(state)
    found.append(time.perf_counter() - start)
  return statistics.median(found[1:])  # the first compiles


# What is measured, in which unit its size is, and the sizes.
PARTS: dict[str, tuple[Callable[[int], float], str, list[int]]] = {
  "files": (read, "files", [10**k for k in range(2, 6)]),
  "crops": (draw, "crops", [10**k for k in range(3, 8)]),
  "pixels": (upscale, "pixels", [10**k for k in range(5, 9)]),
  "images": (score, "images", [10**k for k in range(1, 5)]),
  "devices": (train, "devices", [1, 2, 4, 8]),
}


def exponent(sizes: tuple[int, int], seconds: tuple[float, float]) -> float:
  """Returns the slope of log seconds over log size."""
  return math.log(seconds[1] / seconds[0]) / math.log(sizes[1] / sizes[0])


def _peak() -> int:
  """The most bytes that this process has had in memory; 0 if it is unknown."""
  # Linux's getrusage begins with the peak of the process that started this one.
  with contextlib.suppress(OSError):
    status = Path("/proc/self/status").read_text()
    if found := re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE):
      return 1024 * int(found[1])
  try:
    import resource
  except ImportError:
    return 0
  unit = 1 if sys.platform == "darwin" else 1024
  return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _measure(part: str, size: int) -> dict[str, float]:
  """Measures in this process."""
  before = _peak()
  seconds = PARTS[part][0](size)
  return {"seconds": seconds, "bytes": _peak() - before}


def _measured(part: str, size: int) -> dict[str, float]:
  """Measures in a new process."""
  environment = dict(os.environ)
  if part == "devices":
    flags = f"{environment.get('XLA_FLAGS', '')} {_DEVICES}={size}"
    environment |= {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
  command = [sys.executable, "-m", "benchmarks.scale", "--measure", part]
  done = subprocess.run(
    [*command, str(size)], env=environment, stdout=subprocess.PIPE, check=False
  )
  if done.returncode:
    raise bamjax.UserError(f"{part} of {size:,} failed; see above")
  return json.loads(done.stdout.splitlines()[-1])


def main():
  """Measures and prints the times."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument(
    "--parts", nargs="+", choices=PARTS, default=[*PARTS], metavar="PART"
  )
  parser.add_argument("--most", type=int, help="maximum size")
  parser.add_argument("--output", type=Path, help="a JSON file")
  parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
  args = parser.parse_args()
  if args.measure:
    print(json.dumps(_measure(args.measure[0], int(args.measure[1]))))
    return

  report = {"device": jax.devices()[0].device_kind}
  for part in args.parts:
    _, unit, sizes = PARTS[part]
    sizes = [size for size in sizes if not args.most or size <= args.most]
    if not sizes:
      raise bamjax.UserError(f"--most={args.most} leaves no size of {part}")
    rows = []
    report[part] = found = {}
    before: tuple[int, float] | None = None
    for size in sizes:
      found[size] = row = _measured(part, size)
      if before:
        pairs = zip(before, (size, row["seconds"]), strict=True)
        row["exponent"] = exponent(*pairs)
      before = size, row["seconds"]
      rows.append(
        [
          f"{size:,}",
          f"{row['seconds']:.4g}",
          f"{row['exponent']:.2f}" if "exponent" in row else "",
          f"{row['bytes'] / 1e6:.0f}",
        ]
      )
    head = [unit, "seconds", "exponent", "MB more"]
    print(Table(part, head, rows).text(), flush=True)
  if args.output:
    write_atomically(args.output, json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
  running.run(main)
