"""Measures how long XLA compiles the backbones: forward and training step, ×2.

  python -m benchmarks.compile_time
  python -m benchmarks.compile_time --models rcan,drln --output compile.json

The forward pass takes 1×64×64 LR pixels, the training step (L1, Adam) 4×48×48.
Does not include tracing, and runs nothing.
"""

import argparse
from collections.abc import Callable
import json
import time
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bamjax.models import create_model
from bamjax.models import list_models
from benchmarks import running


def compile_seconds(function: Callable[..., Any], *arguments: Any) -> float:
  """Returns the seconds that XLA takes to compile a function."""
  lowered = jax.jit(function).lower(*arguments)
  start = time.perf_counter()
  lowered.compile()
  return time.perf_counter() - start


def measure(name: str, attn: str) -> dict[str, float]:
  """Measures the compile times of one backbone, in seconds."""
  model = create_model(name, attn)
  optimizer = optax.adam(1e-4)

  def image(n, size):
    return jax.ShapeDtypeStruct((n, size, size, 3), jnp.float32)

  def step(variables, state, lr, hr):
    def loss(variables):
      return jnp.mean(jnp.abs(model.apply(variables, lr) - hr))

    value, grads = jax.value_and_grad(loss)(variables)
    updates, state = optimizer.update(grads, state)
    return optax.apply_updates(variables, updates), state, value

  variables = jax.eval_shape(model.init, jax.random.key(0), image(1, 64))
  state = jax.eval_shape(optimizer.init, variables)
  return {
    "forward": compile_seconds(model.apply, variables, image(1, 64)),
    "train_step": compile_seconds(
      step, variables, state, image(4, 48), image(4, 96)
    ),
  }


def main() -> None:
  """Prints a table and, with --output, writes it as JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--models", help="comma-separated; default: all")
  parser.add_argument("--attn", default="native", help="attention")
  parser.add_argument("--output", help="JSON file to write")
  args = parser.parse_args()
  models = args.models.split(",") if args.models else list_models()

  # Warms up: the first compilation also starts LLVM.
  compile_seconds(lambda x: x + 1, jnp.zeros(()))
  print(f"{'model':14} {'forward s':>10} {'train step s':>13}")
  rows = {}
  for name in models:
    rows[name] = row = measure(name, args.attn)
    print(
      f"{name:14} {row['forward']:10.2f} {row['train_step']:13.2f}", flush=True
    )
  if args.output:
    report = {
      "device": jax.devices()[0].device_kind,
      "jax": jax.__version__,
      "attn": args.attn,
      "seconds": rows,
    }
    with open(args.output, "w", encoding="utf-8") as file:
      json.dump(report, file, indent=2)
      file.write("\n")


if __name__ == "__main__":
  running.run(main)
