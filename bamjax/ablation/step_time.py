"""Seconds that a training step takes, measured on random patches."""

import functools
import time

import jax
import ml_collections
import numpy as np

from bamjax.layers import compile_for
from bamjax.runs import config as config_lib
from bamjax.training import parallel
from bamjax.training import run_dir
from bamjax.training.step import train_step

_STEPS = 20  # timed, at most
_SECONDS = 10.0  # after which no further step is timed


def measure(config: ml_collections.ConfigDict) -> float:
  """Times training steps of a configuration on this machine's devices.

  Returns:
    The median of the seconds of a step, without its compilation.
  """
  module = config_lib.build_model(config)
  step = parallel.parallelize(
    functools.partial(
      train_step,
      accumulate=config.optim.accumulate,
      ema_decay=config.optim.ema_decay,
    ),
    config.parallel,
  )
  state = parallel.replicate(run_dir.init_state(config, module))
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
  seconds: list[float] = []
  with compile_for("many_runs"):
    state = jax.block_until_ready(step(state, batch))  # compiles
    while len(seconds) < _STEPS and sum(seconds) < _SECONDS:
      start = time.perf_counter()
      state = jax.block_until_ready(step(state, batch))
      seconds.append(time.perf_counter() - start)
  return float(np.median(seconds))
