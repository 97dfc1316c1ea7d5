"""Which dtype a network computes in on this machine."""

from collections.abc import Callable
import dataclasses
import functools
import time

from flax import linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from bamjax.layers import Attention
from bamjax.layers.convolution import convolve
from bamjax.layers.cpu import onednn


def with_dtype(module: nn.Module, dtype: DTypeLike) -> nn.Module:
  """Returns a backbone that computes in another dtype, its attention too.

  Raises:
    ValueError: the dtype is not floating.
  """
  dtype = jnp.dtype(dtype)
  if not jnp.issubdtype(dtype, jnp.floating):
    raise ValueError(f"networks compute in a floating dtype; got {dtype}")
  attention = dataclasses.replace(module.attention, dtype=dtype)
  return module.clone(dtype=dtype, attention=attention)


def for_8_bits(module: nn.Module) -> nn.Module:
  """Returns a network in the dtype that is best for results of 8 bits.

  That is bfloat16 where `prefers_bfloat16` says so. Networks that compute in a
  dtype of their own, or are no backbones, stay.
  """
  own = getattr(module, "dtype", jnp.float32)
  backbone = isinstance(getattr(module, "attention", None), Attention)
  if own is None and backbone and prefers_bfloat16():
    return with_dtype(module, jnp.bfloat16)
  return module


def prefers_bfloat16() -> bool:
  """Whether this machine convolves natively in bfloat16, and faster so.

  Only said of CPUs: GPUs have TensorFloat-32, which is often faster.
  """
  return onednn.usable(jnp.bfloat16) and _is_faster()


@functools.cache
def _is_faster() -> bool:
  """Whether a small convolution is faster in bfloat16, timed once."""
  return _seconds(jnp.bfloat16) < _seconds(jnp.float32)


def _seconds(dtype: DTypeLike) -> float:
  x = jnp.ones((1, 64, 64, 64), dtype)
  kernel = jnp.ones((3, 3, 64, 64), dtype)
  run: Callable[..., jax.Array] = jax.jit(convolve)
  run(x, kernel).block_until_ready()
  times = []
  for _ in range(5):
    start = time.perf_counter()
    run(x, kernel).block_until_ready()
    times.append(time.perf_counter() - start)
  return min(times)
