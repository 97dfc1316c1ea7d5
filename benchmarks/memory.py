"""Measures the host memory that training on a data set like DIV2K takes.

  python -m benchmarks.memory --data_dir PHOTOS
  python -m benchmarks.memory --data_dir PHOTOS --cache_dir CACHE

Makes 800 images of 2040×1356 pixels from the photographs of a folder, and
decodes them into memory, or into a memory-mapped file with --cache_dir, as
training does. Trains PAN-BAM ×2 for --train_steps steps (16 patches of 64×64),
and then draws batches until --steps. Prints the resident set of the process,
and its peak, in GB.
"""

import argparse
import itertools
from pathlib import Path
import resource

import jax
import numpy as np
import optax

from bamjax.data import cache
from bamjax.data import crops
from bamjax.data import pipeline
from bamjax.data import sources
from bamjax.images import resize
from bamjax.images import rgb
from bamjax.models import create_model
from bamjax.training import parallel
from bamjax.training.state import create_state
from bamjax.training.step import train_step
from benchmarks import running

_HEIGHT, _WIDTH, _SCALE = 1356, 2040, 2


def tiled(path: Path, number: int) -> sources.ImagePair:
  """Returns an image of DIV2K's size, filled with copies of a photograph."""

  def load():
    hr = rgb.read_rgb(path)
    times = (-(-_HEIGHT // hr.shape[0]), -(-_WIDTH // hr.shape[1]), 1)
    hr = np.tile(hr, times)[:_HEIGHT, :_WIDTH]
    hr = np.roll(hr, 7 * number, axis=1)
    # Faster than the bicubic that training uses, and of the same size.
    return resize.pillow_bicubic(hr, _HEIGHT // _SCALE, _WIDTH // _SCALE), hr

  return sources.ImagePair(f"{number} {path.stem}", load, f"{path} {number}")


def resident_gb() -> float:
  """Returns the resident set of this process, in GB."""
  for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmRSS:"):
      return int(line.split()[1]) * 1024 / 1e9
  raise OSError("/proc/self/status has no VmRSS")


def main() -> None:
  """Measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--data_dir", required=True, help="folder of photographs")
  parser.add_argument("--cache_dir", help="folder of the memory-mapped file")
  parser.add_argument("--images", type=int, default=800)
  parser.add_argument("--steps", type=int, default=2000)
  parser.add_argument("--train_steps", type=int, default=20)
  args = parser.parse_args()

  paths = itertools.cycle(rgb.list_images(args.data_dir))
  images = [tiled(next(paths), i) for i in range(args.images)]
  decoded = cache.decode(images, cache_dir=args.cache_dir)
  store = crops.CropStore(decoded, 64)
  where = "mapped" if decoded.mapped else "in memory"
  print(f"{len(decoded.pairs)} images, {decoded.nbytes / 1e9:.2f} GB, {where}")
  batches = pipeline.train_batches(
    store, seed=0, batch_size=16, patch=64, start_step=0, num_steps=args.steps
  )
  module = create_model("pan", "bam", _SCALE)
  state = create_state(module, optax.constant_schedule(1e-4), 0, 64)
  state, train = parallel.replicate(state), parallel.parallelize(train_step)
  for step, batch in enumerate(batches, 1):
    if step <= args.train_steps:
      state = jax.block_until_ready(train(state, batch))
    if step in (1, 10, 100) or step % 500 == 0:
      print(f"step {step:5}: {resident_gb():.2f} GB resident", flush=True)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
  print(f"peak {peak:.2f} GB")


if __name__ == "__main__":
  running.run(main)
