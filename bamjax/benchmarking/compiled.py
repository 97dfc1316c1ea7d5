"""Networks of ours, compiled for what a plan times."""

from collections.abc import Callable
import dataclasses
import math
import time
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bamjax import complexity
from bamjax.benchmarking.plan import DTYPES
from bamjax.benchmarking.plan import Plan
from bamjax.layers import compile_for
from bamjax.models import registry

# Frames that take turns, so that none finds its own result in a cache.
POOL = 4


@dataclasses.dataclass
class Program:
  """A compiled network.

  Attributes:
    run: runs the frame of a number and awaits it; returns its result: an
      image, or for a training step the loss.
    variables: the weights that it began with, {"params": …}.
    compile_s: seconds of its compilation.
    macs: multiply-accumulates of one image's forward pass.
    memory: bytes that the program holds at once: its arguments, its results and
      its temporary arrays, by XLA's count.
  """

  run: Callable[[int], Any]
  variables: Any
  compile_s: float
  macs: int
  memory: int | None


def random_weights(shapes: Any) -> Any:
  """Weights of a net's usual size, without compiling its initializers.

  Args:
    shapes: the tree of their shapes.

  Returns:
    The same weights at each call, as NumPy arrays.
  """
  generator = np.random.default_rng(0)

  def draw(leaf):
    # Kernels are k×k×C_in×C_out; biases, slopes and scales are smaller.
    kernel = len(leaf.shape) == 4
    bound = 1 / math.sqrt(math.prod(leaf.shape[:3])) if kernel else 0.1
    return generator.uniform(-bound, bound, leaf.shape).astype(leaf.dtype)

  return jax.tree.map(draw, shapes)


def frames(plan: Plan, size: int) -> list[np.ndarray]:
  """The LR frames: POOL arrays N×size×size×3, uint8."""
  generator = np.random.default_rng(1)
  shape = (POOL, plan.batch_size, size, size, 3)
  return list(generator.integers(0, 256, shape, np.uint8))


def targets(plan: Plan, size: int, scale: int) -> np.ndarray:
  """The HR images of training steps, N×scale·size×scale·size×3, uint8."""
  shape = (plan.batch_size, scale * size, scale * size, 3)
  return np.random.default_rng(2).integers(0, 256, shape, np.uint8)


def as_float(image: np.ndarray) -> np.ndarray:
  """uint8 to float32 in [0, 1]."""
  return image.astype(np.float32) / 255


def build(plan: Plan, name: str, attn: str, scale: int, size: int) -> Program:
  """Compiles a network with random weights for a plan's frames."""
  module = registry.create_model(name, attn, scale, dtype=DTYPES[plan.dtype])
  shape = (plan.batch_size, size, size, 3)
  frame = jax.ShapeDtypeStruct(shape, jnp.float32)
  variables = random_weights(
    jax.eval_shape(module.init, jax.random.key(0), frame)
  )
  macs = complexity.summary(module, size, size)["macs"]
  make = _training if plan.train else _inference
  compiled, run, compile_s = make(plan, module, variables, scale, size)
  return Program(run, variables, compile_s, macs, _memory(compiled))


def _memory(compiled) -> int | None:
  stats = compiled.memory_analysis()
  if stats is None:
    return None
  return (
    stats.argument_size_in_bytes
    + stats.output_size_in_bytes
    + stats.temp_size_in_bytes
    - stats.alias_size_in_bytes
  )


def _compile(function, *args, **options):
  start = time.perf_counter()
  compiled = jax.jit(function, **options).lower(*args).compile()
  return compiled, time.perf_counter() - start


def _inference(plan, module: nn.Module, variables, scale: int, size: int):
  del scale
  weights = jax.device_put(variables)
  pool = [jax.device_put(as_float(frame)) for frame in frames(plan, size)]
  compiled, compile_s = _compile(module.apply, weights, pool[0])

  def run(i):
    return jax.block_until_ready(compiled(weights, pool[i % POOL]))

  return compiled, run, compile_s


def _training(plan, module: nn.Module, variables, scale: int, size: int):
  # Imported here: inference does without the optimizer.
  import optax

  from bamjax.training.state import TrainState
  from bamjax.training.step import train_step

  state = TrainState.create(
    apply_fn=module.apply,
    params=jax.device_put(variables["params"]),
    tx=optax.adam(1e-4),
    loss_sum=jnp.zeros(()),
    finite_steps=jnp.zeros((), jnp.int32),
  )
  hr = jax.device_put(targets(plan, size, scale))
  pool = [
    {"lr": jax.device_put(frame), "hr": hr} for frame in frames(plan, size)
  ]
  # As a training of many steps is compiled.
  with compile_for("many_runs"):
    compiled, compile_s = _compile(train_step, state, pool[0], donate_argnums=0)

  def run(i):
    nonlocal state
    before = float(state.loss_sum)
    state = jax.block_until_ready(compiled(state, pool[i % POOL]))
    return float(state.loss_sum) - before

  return compiled, run, compile_s
