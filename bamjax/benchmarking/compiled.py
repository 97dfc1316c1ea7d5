"""Our networks, compiled for a benchmark."""

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
from bamjax.benchmarking.timing import Run
from bamjax.inference import cuda_graphs
from bamjax.layers import compile_for
from bamjax.models import registry

POOL = 4  # number of different frames, so that none is still in a cache


@dataclasses.dataclass
class Program:
  """A compiled network.

  Attributes:
    run: runs frame i, waits for it, and returns the image, or the loss of a
      training step.
    variables: the initial weights, {"params": …}.
    compile_s: compilation time in seconds.
    macs: multiply-accumulates of the forward pass of one image.
    memory: bytes of the program's arguments, results and temporary arrays,
      according to XLA; None if unknown.
    text: returns the compiled program as XLA prints it.
  """

  run: Run
  variables: Any
  compile_s: float
  macs: int
  memory: int | None
  text: Callable[[], str]


def random_weights(shapes: Any) -> Any:
  """Draws weights of realistic magnitude without compiling initializers.

  Args:
    shapes: tree of `jax.ShapeDtypeStruct`.

  Returns:
    Tree of NumPy arrays, equal at each call.
  """
  generator = np.random.default_rng(0)

  def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
    # Kernels are k×k×C_in×C_out; other arrays are biases, slopes and scales.
    kernel = len(leaf.shape) == 4
    bound = 1 / math.sqrt(math.prod(leaf.shape[:3])) if kernel else 0.1
    return generator.uniform(-bound, bound, leaf.shape).astype(leaf.dtype)

  return jax.tree.map(draw, shapes)


def frames(plan: Plan, size: int) -> list[np.ndarray]:
  """Returns POOL random LR frames, N×size×size×3 uint8."""
  generator = np.random.default_rng(1)
  shape = (POOL, plan.batch_size, size, size, 3)
  return list(generator.integers(0, 256, shape, np.uint8))


def targets(plan: Plan, size: int, scale: int) -> np.ndarray:
  """Returns random HR images, N×(scale·size)×(scale·size)×3 uint8."""
  shape = (plan.batch_size, scale * size, scale * size, 3)
  return np.random.default_rng(2).integers(0, 256, shape, np.uint8)


def as_float(image: np.ndarray) -> np.ndarray:
  """Converts uint8 to float32 in [0, 1]."""
  return image.astype(np.float32) / 255


def build(plan: Plan, name: str, attn: str, scale: int, size: int) -> Program:
  """Compiles a network with random weights.

  Args:
    plan: gives dtype, batch size, and whether to train.
    name: name of the backbone.
    attn: kind of attention.
    scale: upscaling factor.
    size: side of the square input, in LR pixels.
  """
  module = registry.create_model(name, attn, scale, dtype=DTYPES[plan.dtype])
  shape = (plan.batch_size, size, size, 3)
  frame = jax.ShapeDtypeStruct(shape, jnp.float32)
  variables = random_weights(
    jax.eval_shape(module.init, jax.random.key(0), frame)
  )
  macs = complexity.summary(module, size, size)["macs"]
  make = _training if plan.train else _inference
  compiled, run, compile_s = make(plan, module, variables, scale, size)

  def text() -> str:
    return compiled.as_text() or ""

  return Program(run, variables, compile_s, macs, _memory(compiled), text)


def _memory(compiled: jax.stages.Compiled) -> int | None:
  stats = compiled.memory_analysis()
  if stats is None:
    return None
  return (
    stats.argument_size_in_bytes
    + stats.output_size_in_bytes
    + stats.temp_size_in_bytes
    - stats.alias_size_in_bytes
  )


def _compile(
  function: Callable[..., Any], *args: Any, **options: Any
) -> tuple[jax.stages.Compiled, float]:
  """Returns the compiled function and the seconds that it took."""
  start = time.perf_counter()
  compiled = jax.jit(function, **options).lower(*args).compile()
  return compiled, time.perf_counter() - start


# Compiled program, function that runs frame i, compilation time in seconds.
_Timed = tuple[jax.stages.Compiled, Run, float]


def _inference(
  plan: Plan, module: nn.Module, variables: Any, scale: int, size: int
) -> _Timed:
  del scale
  weights = jax.device_put(variables)
  pool = [jax.device_put(as_float(frame)) for frame in frames(plan, size)]
  start = time.perf_counter()
  compiled, program = cuda_graphs.compile_often(module.apply, weights, pool[0])
  compile_s = time.perf_counter() - start

  def run(i: int) -> jax.Array:
    return jax.block_until_ready(program(pool[i % POOL]))

  return compiled, run, compile_s


def _training(
  plan: Plan, module: nn.Module, variables: Any, scale: int, size: int
) -> _Timed:
  # Imported here: inference does not need the optimizer.
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
  # Compiled as for training with many steps.
  with compile_for("many_runs"):
    compiled, compile_s = _compile(train_step, state, pool[0], donate_argnums=0)

  def run(i: int) -> float:
    nonlocal state
    before = float(state.loss_sum)
    state = jax.block_until_ready(compiled(state, pool[i % POOL]))
    return float(state.loss_sum) - before

  return compiled, run, compile_s
