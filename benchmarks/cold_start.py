"""Measures the time from a process's start to its first upscaled image.

  python -m benchmarks.cold_start
  python -m benchmarks.cold_start --model imdn --size 120

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
from bamjax.commands import cli

def main(argv):
  import bamjax
  imported = time.perf_counter()
  upscale = bamjax.Upscaler(*bamjax.load_weights(file))
  upscale(np.zeros((int(size), int(size), 3), np.uint8))
  heavy = sorted({"tensorflow", "torch"} & set(sys.modules))
  print(json.dumps([imported - start, heavy]))

file, size = sys.argv[1:]
del sys.argv[1:]  # not flags
cli.run(main)
"""


def weights(model: str, path: Path) -> None:
  """Writes a network's random weights with PyTorch's names."""
  from flax import traverse_util
  import jax
  import jax.numpy as jnp
  import numpy as np

  from bamjax.benchmarking.compiled import random_weights
  from bamjax.models import create_model
  from bamjax.weights.names import NAMINGS
  from bamjax.weights.names import torch_name

  module = create_model(model)
  lr = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
  tree = random_weights(jax.eval_shape(module.init, jax.random.key(0), lr))
  naming = next(n for n in NAMINGS if n.model == model)
  table = naming.table(module.attention.kind)
  values = {"blocks": getattr(module, "blocks", 0)}
  arrays = {}
  for name, a in traverse_util.flatten_dict(tree["params"], sep="/").items():
    a = a.transpose(3, 2, 0, 1) if a.ndim == 4 else a
    arrays[torch_name(name, table, values, False)] = a
  np.savez(path, **arrays)


def main():
  """Measures and prints the time of each start."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--model", default="pan")
  parser.add_argument("--size", type=int, default=200)
  parser.add_argument(
    "--runs", type=int, default=3, help="runs with a warm cache"
  )
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "weights.npz"
    weights(args.model, file)
    cache = {"XDG_CACHE_HOME": folder, "PYTHONPATH": str(ROOT)}
    for i in range(args.runs + 1):
      start = time.perf_counter()
      done = subprocess.run(
        [sys.executable, "-c", CHILD, str(file), str(args.size)],
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
