"""Compares the time of attention layers to that of moving their bytes.

  python -m benchmarks.attention_speed
  python -m benchmarks.attention_speed --attns bam,cca --size 200

The lower bound is the time of two reads and one write of the features, at the
bandwidth of copying an array of their size on the same device.
"""

import argparse
import statistics

import jax
import jax.numpy as jnp

from bamjax.benchmarking import machine
from bamjax.benchmarking import timing
from bamjax.commands import process
from bamjax.layers import Attention


def main() -> None:
  """Prints a table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--attns", default="bam,cca,ca,se,cbam,pa")
  parser.add_argument(
    "--size", type=int, default=200, help="side of the features, in pixels"
  )
  parser.add_argument("--channels", type=int, default=64)
  args = parser.parse_args()
  # As in the commands.
  process.use_huge_pages()
  process.keep_memory()
  x = jnp.ones((1, args.size, args.size, args.channels))
  x *= jax.random.uniform(jax.random.key(0), x.shape)
  runs = {}
  for attn in args.attns.split(","):
    module = Attention(attn)()
    variables = module.init(jax.random.key(1), x)
    compiled = jax.jit(module.apply).lower(variables, x).compile()
    runs[attn] = lambda _, c=compiled, v=variables: jax.block_until_ready(
      c(v, x)
    )
  bandwidth = machine.measure_bandwidth(x.nbytes)
  bound = 3 * x.nbytes / bandwidth
  print(f"copying: {bandwidth / 1e9:.1f} GB/s; bound {1000 * bound:.2f} ms")
  seconds = timing.take_turns(runs, frames=60, rounds=6)
  for attn, rounds in seconds.items():
    median = statistics.median(sum(rounds, []))
    print(
      f"{attn:14} {1000 * median:7.2f} ms {median / bound:6.2f} × the bound"
    )


if __name__ == "__main__":
  main()
