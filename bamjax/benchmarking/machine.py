"""The device that a benchmark runs on, and its measured limits."""

import platform
import time
from typing import Any

import flax
import jax
import jax.numpy as jnp
import jaxlib

from bamjax.benchmarking.plan import DTYPES


def environment() -> dict[str, Any]:
  """The device and the versions that the figures belong to."""
  device = jax.devices()[0]
  return {
    "device": _processor() if device.platform == "cpu" else device.device_kind,
    "platform": device.platform,
    "host": platform.machine(),
    "python": platform.python_version(),
    "jax": jax.__version__,
    "jaxlib": jaxlib.__version__,
    "flax": flax.__version__,
    "matmul_precision": jax.config.jax_default_matmul_precision or "default",
  }


def _processor() -> str:
  """Name of the processor, which JAX calls "cpu"."""
  try:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
      names = [x.partition(":")[2].strip() for x in file if "model name" in x]
    return f"{names[0]}, {len(names)} cores"
  except (OSError, IndexError):
    return platform.processor() or "cpu"


def _best(function, *args, seconds: float) -> float:
  """Seconds of the quickest of the calls that fit into some seconds."""
  jax.block_until_ready(function(*args))
  quickest, end = float("inf"), time.perf_counter() + seconds
  while time.perf_counter() < end:
    start = time.perf_counter()
    jax.block_until_ready(function(*args))
    quickest = min(quickest, time.perf_counter() - start)
  return quickest


def precision(dtype: str = "float32") -> str:
  """What products of a dtype are made in: "tensorfloat32", or the dtype.

  TF32 has 11 bits of float32's 24; it is JAX's default on a GPU, and
  JAX_DEFAULT_MATMUL_PRECISION=highest turns it off.
  """
  setting = jax.config.jax_default_matmul_precision
  short = setting in (None, "default", "fastest", "tensorfloat32")
  gpu = jax.default_backend() == "gpu"
  return "tensorfloat32" if gpu and short and dtype == "float32" else dtype


def measure_peak(dtype: str = "float32") -> float:
  """The device's matrix-product peak, in FLOP/s (two a multiply-accumulate).

  The best of square products of a few sizes, at JAX's current precision. Of
  random values, as a GPU may be quicker with constants.
  """
  cpu = jax.default_backend() == "cpu"
  best = 0.0
  for n in (512, 1024, 2048) if cpu else (4096, 8192):
    a = jax.random.normal(jax.random.key(0), (n, n), DTYPES[dtype])
    product = jax.jit(jnp.matmul)
    best = max(best, 2 * n**3 / _best(product, a, a, seconds=0.5))
  return best


def measure_bandwidth(size: int) -> float:
  """Bytes per second that the device moves when it copies an array.

  Args:
    size: bytes of the array, which are read and written: 2·size are moved.
  """
  x = jnp.ones(size // 4)
  return 2 * size / _best(jax.jit(jnp.copy), x, seconds=0.5)
