"""bfloat16 beside float32: conversions, element by element, concatenation.

XLA on the CPU converts each bfloat16 operand to float32, and rounds each result
of an operation with a test for NaN, at half the speed of the integers here. So
a chain of operations is computed in float32 and rounded once, which is more
exact, too (docs/performance.md).
"""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jax.typing import DTypeLike

from bamjax.layers import purpose

# Values from which rounding by integers is worth its compilation: parameters
# have fewer, and are so many that their rounding took a third of it.
_LARGE = 2**16


def _by_integers() -> bool:
  return jax.default_backend() == "cpu" and not purpose.is_portable()


@jax.custom_jvp
def _rounded(x: jax.Array) -> jax.Array:
  """float32 to the nearest bfloat16, ties to even. A NaN stays one."""
  bits = lax.bitcast_convert_type(x, jnp.uint32)
  # A carry from the lower half is the rounding. It would make zero of a NaN
  # whose bits are all set, which no operation returns.
  bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
  return lax.bitcast_convert_type(bits.astype(jnp.uint16), jnp.bfloat16)


@_rounded.defjvp
def _differentiate(
  primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
  return _rounded(*primals), tangents[0].astype(jnp.bfloat16)


def convert(x: jax.Array, dtype: DTypeLike) -> jax.Array:
  """Converts x to a dtype, rounding to nearest even."""
  if (
    x.dtype == jnp.float32
    and dtype == jnp.bfloat16
    and _by_integers()
    and x.size >= _LARGE
  ):
    return _rounded(x)
  return x.astype(dtype)


def promote(
  *arrays: jax.Array | None, dtype: DTypeLike | None = None
) -> list[Any]:
  """Flax's `promote_dtype`: converts arrays to a dtype; None stays.

  Args:
    *arrays: any shapes.
    dtype: None promotes them to the dtype that they have in common.
  """
  known = [array for array in arrays if array is not None]
  dtype = jnp.result_type(*known) if dtype is None else dtype
  if not jnp.issubdtype(dtype, jnp.inexact):
    dtype = jnp.promote_types(dtype, jnp.float32)
  return [
    None if array is None else convert(jnp.asarray(array), dtype)
    for array in arrays
  ]


def split(x: jax.Array) -> list[jax.Array]:
  """Two bfloat16 whose sum is x, float32, but for 2⁻¹⁷ of it."""
  high = convert(x, jnp.bfloat16)
  return [high, convert(x - high.astype(x.dtype), jnp.bfloat16)]


def elementwise(
  function: Callable[..., jax.Array], *arrays: jax.Array
) -> jax.Array:
  """Applies a function of single values, in float32 for bfloat16.

  Args:
    function: works element by element.
    *arrays: of shapes that broadcast, and one dtype.

  Returns:
    The function's result, dtype of the arrays.
  """
  dtype = arrays[0].dtype
  if dtype != jnp.bfloat16:
    return function(*arrays)
  return convert(function(*(a.astype(jnp.float32) for a in arrays)), dtype)


def concatenate(parts: Sequence[jax.Array]) -> jax.Array:
  """Concatenates N×H×W×C_i in the channels.

  On the CPU, pairs of bfloat16 are moved as one integer: XLA copies a value at
  a time.
  """
  if len(parts) == 1:
    return parts[0]
  even = all(part.shape[-1] % 2 == 0 for part in parts)
  if parts[0].dtype == jnp.bfloat16 and even and _by_integers():
    return _concatenated(list(parts))
  return jnp.concatenate(parts, axis=-1)


@jax.custom_jvp
def _concatenated(parts: list[jax.Array]) -> jax.Array:
  pairs = [part.reshape(*part.shape[:-1], -1, 2) for part in parts]
  whole = jnp.concatenate(
    [lax.bitcast_convert_type(pair, jnp.uint32) for pair in pairs], axis=-1
  )
  y = lax.bitcast_convert_type(whole, jnp.bfloat16)
  return y.reshape(*whole.shape[:-1], -1)


@_concatenated.defjvp
def _concatenate_tangents(
  primals: tuple[list[jax.Array]], tangents: tuple[list[jax.Array]]
) -> tuple[jax.Array, jax.Array]:
  # Integers have no gradient.
  return _concatenated(*primals), jnp.concatenate(tangents[0], axis=-1)
