"""What an array of images may hold: one rule for all public functions.

Integers are levels: 255 is full intensity in uint8, 65,535 in uint16. Floats
are intensities in [0, 1]. They may overshoot that range as resized or noisy
images and the outputs of networks do: each value is above −1 and below 2, and
on average values are at most 0.08 outside [0, 1]. (For the images of Set5 and
Set14, it is at most 0.002 after bicubic upscaling and 0.051 with Gaussian noise
of σ = 50, but at least 0.106 if they are mapped to [−1, 1].) NaN and infinity
are never valid.

Under `jax.jit` and other transformations, values are unknown: only shapes and
dtypes are checked there, and values are the caller's responsibility.
"""

from collections.abc import Collection
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bamjax import forks
from bamjax.errors import UserError

Array = jax.Array | np.ndarray

# Values of full intensity, by dtype.
PEAKS = {"uint8": 255, "uint16": 65535}
_FARTHEST = 1.0  # distance of any value from [0, 1]
_OVERSHOOT = 0.08  # mean distance from [0, 1]


def as_array(x: Any) -> Array:
  """Returns an array that JAX takes: one of JAX's, or in native byte order."""
  forks.check()
  if isinstance(x, jax.Array):
    return x
  x = np.asarray(x)
  return x.astype(x.dtype.newbyteorder("="), copy=False)


def check(
  image: Array, name: str = "images", integers: Collection[str] = ("uint8",)
) -> None:
  """Checks the dtype and the values of images of any shape.

  Args:
    image: the images.
    name: what they are, for messages.
    integers: integer dtypes that are allowed; floats always are.

  Raises:
    UserError: they don't follow the rule above.
  """
  if image.dtype.name in integers:
    return
  if not jnp.issubdtype(image.dtype, jnp.floating):
    allowed = " or ".join([*integers, "floating in [0, 1]"])
    white = PEAKS.get(image.dtype.name, "the value of white")
    raise UserError(
      f"{name} must be {allowed}; got {image.dtype.name}: divide it by {white}"
    )
  limits = bounds(image, name)
  if limits is None:
    return
  low, high = limits
  if -_FARTHEST < low and high < 1 + _FARTHEST:
    if 0 <= low and high <= 1:
      return
    levels = _on_host(image)
    outside = np.abs(levels - np.clip(levels, 0, 1)).mean(dtype=np.float64)
    if outside <= _OVERSHOOT:
      return
  advice = "divide by the value of white, e.g. 255"
  if -1 <= low < 0 and high <= 1:
    advice = "use (x + 1) / 2 for values in [-1, 1]"
  raise UserError(
    f"floating {name} must be in [0, 1]; got [{low:g}, {high:g}]: {advice}"
  )


def check_uint8(image: Array, name: str) -> None:
  """Checks an image where only 8 bits are allowed.

  Raises:
    UserError: it is not uint8.
  """
  if image.dtype != np.uint8:
    raise UserError(f"{name} must be uint8; got {image.dtype}")


def bounds(x: Array, name: str) -> tuple[float, float] | None:
  """Finds the smallest and the largest value of an array.

  Args:
    x: of any shape and real dtype.
    name: what it is, for messages.

  Returns:
    Both; None if the values are unknown (traced, or on other hosts).

  Raises:
    UserError: a value is NaN or infinite.
  """
  if isinstance(x, jax.core.Tracer):
    return None
  if isinstance(x, jax.Array) and not x.is_fully_addressable:
    return None
  if not x.size:
    return 0.0, 0.0
  x = _on_host(x)
  low, high = float(x.min()), float(x.max())
  if not math.isfinite(high - low):
    wrong = np.count_nonzero(~np.isfinite(x))
    raise UserError(
      f"{name} must be finite; {wrong} of {x.size} values are NaN or infinite"
    )
  return low, high


def _on_host(x: Array) -> np.ndarray:
  x = np.asarray(x)
  # NumPy computes slowly, or not at all, with bfloat16 and its kind.
  return x.astype(np.float32) if x.dtype.kind == "V" else x
