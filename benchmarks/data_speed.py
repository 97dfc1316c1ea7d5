"""Measures patches per second of three ways to load training data.

  python -m benchmarks.data_speed
  python -m benchmarks.data_speed --data_dir DIV2K_train_HR --step

(a) decodes the LR and the HR file for each patch, as BasicSR's loaders do, in
PyTorch's DataLoader if torch is installed, else in plain processes; (b) is
bamjax's tf.data pipeline; (c) cuts patches on the device. They run in turns;
medians are printed. Without --data_dir, the images are the photographs in
scikit-image's wheel. --step also trains PAN and prints the share of a step's
time spent waiting for (b).
"""

import argparse
import contextlib
import functools
import itertools
import json
import multiprocessing
from pathlib import Path
import statistics
import tempfile
import time

import jax
import numpy as np
import optax
from PIL import Image

from bamjax.data import cache
from bamjax.data import crops
from bamjax.data import pipeline
from bamjax.data import resident
from bamjax.data import sources
from bamjax.images import rgb
from bamjax.models import create_model
from bamjax.training import parallel
from bamjax.training.state import create_state
from bamjax.training.step import train_step
from benchmarks import running

_SCALE, _PATCH, _BATCH, _WORKERS = 2, 64, 16, 2


class DecodingDataset:
  """Pairs of PNG files; each sample decodes both, then crops and flips them."""

  def __init__(self, paths: list[tuple[str, str]], length: int):
    self._paths = paths
    self._length = length

  def __len__(self):
    return self._length

  def __getitem__(self, index):
    if index >= self._length:
      raise IndexError(index)
    lr, hr = map(rgb.read_rgb, self._paths[index % len(self._paths)])
    rng = np.random.default_rng(index)
    y, x = (rng.integers(0, side - _PATCH + 1) for side in lr.shape[:2])
    out = []
    for image, factor in ((lr, 1), (hr, _SCALE)):
      rows = slice(factor * y, factor * (y + _PATCH))
      columns = slice(factor * x, factor * (x + _PATCH))
      out.append(np.ascontiguousarray(image[rows, columns][:, ::-1]))
    return out


@contextlib.contextmanager
def decoding_batches(paths):
  """Yields the name of the loader and endless batches of (a)."""
  dataset = DecodingDataset(paths, 10**9)
  try:
    import torch.utils.data
  except ImportError:
    with multiprocessing.get_context("spawn").Pool(_WORKERS) as pool:
      samples = pool.imap(dataset.__getitem__, range(100_000), chunksize=4)

      def batches():
        while True:
          found = list(itertools.islice(samples, _BATCH))
          yield [np.stack(side) for side in zip(*found, strict=True)]

      yield "processes", batches()
    return
  loader = torch.utils.data.DataLoader(
    dataset,
    _BATCH,
    num_workers=_WORKERS,
    multiprocessing_context="spawn",
    prefetch_factor=4,
  )
  yield "torch DataLoader", iter(loader)


def write_pngs(store, folder: Path, limit: int) -> list[tuple[str, str]]:
  """Writes decoded images as PNG files; returns paths of LR and HR."""
  paths = []
  for i, pair in enumerate(store.decoded.pairs[:limit]):
    found = [str(folder / f"{i}_{side}.png") for side in ("lr", "hr")]
    for image, path in zip(pair, found, strict=True):
      Image.fromarray(image).save(path)
    paths.append(tuple(found))
  return paths


def rate(batches, seconds: float) -> float:
  """Returns patches per second of an iterator of batches, after a warm-up."""
  # A loader has prepared some batches in advance.
  for _ in range(2):
    next(batches)
  start, count = time.perf_counter(), 0
  while time.perf_counter() - start < seconds:
    next(batches)
    count += _BATCH
  return count / (time.perf_counter() - start)


def resident_batches(store):
  """Yields endless batches of (c), each computed when it is yielded."""
  data = jax.device_put(resident.pack(store))
  cut = jax.jit(
    functools.partial(
      resident.sample_batch, seed=0, batch_size=_BATCH, patch=_PATCH
    )
  )
  for step in itertools.count():
    yield jax.block_until_ready(cut(data, step=np.int32(step)))


def waiting(store, batches, steps: int) -> dict[str, float]:
  """Trains PAN; returns seconds per step and the share spent waiting."""
  module = create_model("pan", "native", _SCALE)
  state = create_state(module, optax.constant_schedule(1e-4), 0, _PATCH)
  advance = parallel.parallelize(train_step)
  state = parallel.replicate(state)
  state = jax.block_until_ready(advance(state, next(batches)))
  waited, start = 0.0, time.perf_counter()
  for _ in range(steps):
    before = time.perf_counter()
    batch = next(batches)
    waited += time.perf_counter() - before
    state = jax.block_until_ready(advance(state, batch))
  total = time.perf_counter() - start
  return {"step_s": total / steps, "waiting_share": waited / total}


def main():
  """Measures and prints the rates."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--data_dir", help="folder of HR images")
  parser.add_argument(
    "--images", type=int, default=100, help="maximum number of images"
  )
  parser.add_argument("--rounds", type=int, default=3)
  parser.add_argument("--seconds", type=float, default=3.0)
  parser.add_argument("--step", action="store_true")
  parser.add_argument("--output", type=Path, help="a JSON file")
  args = parser.parse_args()

  kind = "folder" if args.data_dir else "sample"
  source = sources.make_source(kind, _SCALE, data_dir=args.data_dir)
  decoded = cache.decode(source.train[: args.images])
  store = crops.CropStore(decoded, _PATCH)
  rates = {}
  with tempfile.TemporaryDirectory() as folder:
    paths = write_pngs(store, Path(folder), args.images)
    tf_data = pipeline.train_batches(
      store,
      seed=0,
      batch_size=_BATCH,
      patch=_PATCH,
      start_step=0,
      num_steps=10**9,
    )
    on_device = resident_batches(store)
    for _ in range(args.rounds):
      # Closed afterwards: its workers would slow down the others.
      with decoding_batches(paths) as (loader, decoding):
        rates.setdefault(f"(a) decoding, {loader}", []).append(
          rate(decoding, args.seconds)
        )
        del decoding
      rates.setdefault("(b) tf.data", []).append(rate(tf_data, args.seconds))
      rates.setdefault("(c) resident", []).append(rate(on_device, args.seconds))
  result = {
    "device": jax.devices()[0].device_kind,
    "images": len(decoded.pairs),
    "patches_per_second": {k: statistics.median(v) for k, v in rates.items()},
  }
  base, *others = result["patches_per_second"].items()
  print(f"{len(decoded.pairs)} images, LR patches {_PATCH}×{_PATCH}, ×{_SCALE}")
  print(f"{base[0]:32} {base[1]:10.0f} patches/s")
  for name, value in others:
    print(f"{name:32} {value:10.0f} patches/s  {value / base[1]:8.1f}×")
  if args.step:
    found = waiting(store, tf_data, steps=20)
    result["pan_x2"] = found
    print(
      f"PAN ×{_SCALE}, batch {_BATCH}: {found['step_s']:.3f} s a step, of which"
      f" {found['waiting_share']:.2%} waiting for (b)"
    )
  if args.output:
    args.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
  running.run(main)
