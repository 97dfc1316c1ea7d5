"""Which dtype a network computes in on this machine."""

from collections.abc import Callable
import dataclasses
import functools
import time
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from bamjax.errors import UserError
from bamjax.layers import Attention
from bamjax.layers.convolution import convolve
from bamjax.layers.cpu import onednn


def with_dtype(module: nn.Module, dtype: DTypeLike) -> nn.Module:
  """Returns a backbone that computes in another dtype, its attention too.

  Raises:
    ValueError: the dtype is not floating.
    UserError: the module is no backbone.
  """
  dtype = jnp.dtype(dtype)
  if not jnp.issubdtype(dtype, jnp.floating):
    raise ValueError(f"networks compute in a floating dtype; got {dtype}")
  if not _is_backbone(module):
    raise UserError(
      f"{type(module).__name__} is no backbone of bamjax, so its dtype can't be"
      " changed; construct it with the dtype"
    )
  attention = dataclasses.replace(module.attention, dtype=dtype)
  return module.clone(dtype=dtype, attention=attention)


def _is_backbone(module: Any) -> bool:
  fields = hasattr(module, "dtype") and hasattr(module, "attention")
  return fields and isinstance(module.attention, Attention)


def for_8_bits(module: nn.Module) -> nn.Module:
  """Returns a network in the dtype that is best for results of 8 bits.

  That is bfloat16 where `prefers_bfloat16` says so. Networks that compute in a
  dtype of their own, are no backbones, or have `loses_in_bfloat16`, stay.
  """
  # Any: nn.Module has no field dtype, but backbones have.
  own: Any = module
  if not _is_backbone(module) or getattr(module, "loses_in_bfloat16", False):
    return module
  if own.dtype is None and prefers_bfloat16():
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
