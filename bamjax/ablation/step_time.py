"""Seconds that training steps take, measured on random patches."""

from collections.abc import Callable
from collections.abc import Sequence

import jax
import ml_collections
import numpy as np

from bamjax.benchmarking import timing
from bamjax.layers import compile_for
from bamjax.runs import config as config_lib
from bamjax.training import distillation
from bamjax.training import feed
from bamjax.training import parallel
from bamjax.training import run_dir

_STEPS, _ROUNDS = 20, 5  # of each network


def measure(configs: Sequence[ml_collections.ConfigDict]) -> list[float]:
  """Times training steps of configurations on this machine's devices.

  The networks take turns, so that other work on the machine slows all of them.

  Returns:
    For each, the median of the seconds of a step, without its compilation.
  """
  with compile_for("many_runs"):
    runs = {i: _make_run(config) for i, config in enumerate(configs)}
    for run in runs.values():
      run(0)  # compiles
    seconds = timing.take_turns(runs, _STEPS, _ROUNDS, "training steps: ")
  return [float(np.median(np.concatenate(seconds[i]))) for i in runs]


def _make_run(config: ml_collections.ConfigDict) -> Callable[[int], None]:
  """A function that trains one step and awaits it."""
  config, teacher = distillation.find(config)
  module = config_lib.build_model(config)
  step = parallel.parallelize(feed.make_step(config), config.parallel)
  state = run_dir.init_state(config, module).replace(teacher=teacher)
  state = parallel.replicate(state)
  rng = np.random.default_rng(0)
  batch = {
    name: rng.integers(
      0, 256, (config.batch_size, side, side, 3), dtype=np.uint8
    )
    for name, side in (
      ("lr", config.data.patch),
      ("hr", config.data.patch * config.scale),
    )
  }
  if config.data.lr_only:
    batch["lr_only"] = rng.random(config.batch_size) < config.data.lr_only

  def run(number: int) -> None:
    nonlocal state
    del number
    state = jax.block_until_ready(step(state, batch))

  return run
