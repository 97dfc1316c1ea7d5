"""What traced programs are for, which decides how they convolve."""

from contextlib import AbstractContextManager
from typing import get_args
from typing import Literal

import jax

Purpose = Literal["here", "many_runs", "export", "onnx"]

# Part of `jax.jit`'s cache key.
_purpose = jax.make_user_context("here")


def compile_for(purpose: Purpose) -> AbstractContextManager[None]:
  """Returns a context whose traced programs serve a purpose.

  A jitted function that was traced for another purpose is traced again.

  Args:
    purpose: one of

      - "here": the default; what runs fastest on this machine.
      - "many_runs": gradients of kernels by Winograd's algorithm on the CPU,
        which compiles longer and runs faster. For long training.
      - "export": only operations that every XLA has, for programs that are
        written to disk, by `jax.export` or another serializer.
      - "onnx": as "export", but with the same operations for all platforms,
        because ONNX can't choose between platforms.

  Raises:
    ValueError: the purpose is unknown.
  """
  if purpose not in get_args(Purpose):
    raise ValueError(
      f"unknown purpose {purpose!r}; choose from {', '.join(get_args(Purpose))}"
    )
  return _purpose(purpose)


def has_many_runs() -> bool:
  """Whether a longer compilation pays for the program being traced."""
  return _purpose.value == "many_runs"


def is_portable() -> bool:
  """Whether the program being traced must hold XLA's operations only."""
  return _purpose.value in ("export", "onnx")


def has_one_form() -> bool:
  """Whether the program being traced must be the same for all platforms."""
  return _purpose.value == "onnx"
