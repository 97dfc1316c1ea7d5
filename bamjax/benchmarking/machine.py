"""The device of a benchmark and its measured peak performance."""

from collections.abc import Callable
import platform
import time
from typing import Any

import flax
import jax
import jax.numpy as jnp
import jaxlib

from bamjax.benchmarking.plan import DTYPES
from bamjax.layers.convolution import convolve


def environment() -> dict[str, Any]:
  """Describes the device, the versions, and the precision of JAX."""
  device = jax.devices()[0]
  return {
    "device": _processor() if device.platform == "cpu" else device.device_kind,
    "platform": device.platform,
    "host": platform.machine(),
    "python": platform.python_version(),
    "jax": jax.__version__,
    "jaxlib": jaxlib.__version__,
    "flax": flax.__version__,
    "matmul_precision": _matmul_precision() or "default",
  }


def _matmul_precision() -> str | None:
  # JAX adds this attribute at run time.
  return jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]


def _processor() -> str:
  """Name of the processor and number of its cores; JAX only says "cpu"."""
  try:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
      names = [x.partition(":")[2].strip() for x in file if "model name" in x]
    return f"{names[0]}, {len(names)} cores"
  except (OSError, IndexError):
    return platform.processor() or "cpu"


def _best(
  function: Callable[..., Any], *args: jax.Array, seconds: float
) -> float:
  """Calls a function repeatedly for some seconds; returns the shortest time."""
  jax.block_until_ready(function(*args))
  quickest, end = float("inf"), time.perf_counter() + seconds
  while time.perf_counter() < end:
    start = time.perf_counter()
    jax.block_until_ready(function(*args))
    quickest = min(quickest, time.perf_counter() - start)
  return quickest


def precision(dtype: str = "float32") -> str:
  """Returns the precision of products: "tensorfloat32", or the dtype.

  TF32 keeps 11 of float32's 24 significant bits. It is JAX's default on GPUs;
  JAX_DEFAULT_MATMUL_PRECISION=highest turns it off.
  """
  setting = _matmul_precision()
  short = setting in (None, "default", "fastest", "tensorfloat32")
  gpu = jax.default_backend() == "gpu"
  return "tensorfloat32" if gpu and short and dtype == "float32" else dtype


def measure_peak(dtype: str = "float32") -> float:
  """Measures the device's peak, at JAX's current precision.

  Args:
    dtype: name of the dtype, of `plan.DTYPES`.

  Returns:
    FLOP/s, two per multiply-accumulate: the best of square matrix products of a
    few sizes, with random values, because GPUs may be faster with constants,
    and, on a CPU, of one large convolution.
  """
  cpu = jax.default_backend() == "cpu"
  best = 0.0
  for n in (512, 1024, 2048) if cpu else (4096, 8192):
    a = jax.random.normal(jax.random.key(0), (n, n), DTYPES[dtype])
    product = jax.jit(jnp.matmul)
    best = max(best, 2 * n**3 / _best(product, a, a, seconds=0.5))
  if cpu:
    # oneDNN's, where it is usable, which is also faster in bfloat16.
    n, channels = 128, 256
    x = jnp.ones((1, n, n, channels), DTYPES[dtype])
    kernel = jnp.ones((3, 3, channels, channels), DTYPES[dtype])
    seconds = _best(jax.jit(convolve), x, kernel, seconds=0.5)
    best = max(best, 2 * 9 * (n * channels) ** 2 / seconds)
  return best


def measure_bandwidth(size: int) -> float:
  """Measures the memory bandwidth of the device by copying an array.

  Args:
    size: size of the array, in bytes.

  Returns:
    Bytes read and written per second: 2·size per copy.
  """
  x = jnp.ones(size // 4)
  return 2 * size / _best(jax.jit(jnp.copy), x, seconds=0.5)
