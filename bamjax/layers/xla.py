"""Convolutions by XLA's own operations."""

import jax
from jax import lax


def direct(
  x: jax.Array, kernel: jax.Array, *, groups: int = 1, dilation: int = 1
) -> jax.Array:
  """The convolution itself; arguments are those of `convolution.convolve`."""
  if kernel.shape[:2] == (1, 1) and groups == 1:
    # A 1×1 conv is a matrix product, which XLA runs faster on every backend.
    # Of two axes: of four, the kernel's gradient would first store a transpose.
    y = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
    return y.reshape(*x.shape[:-1], kernel.shape[-1])
  pad = dilation * (kernel.shape[0] // 2)
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(1, 1),
    padding=((pad, pad), (pad, pad)),
    rhs_dilation=(dilation, dilation),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


def finish(y: jax.Array, *terms: jax.Array | None, relu: bool) -> jax.Array:
  """Adds up what there is of y and terms, and ends with a ReLU or without.

  Args:
    y: N×H×W×C.
    *terms: N×H×W×C, (C,), or None.
    relu: whether a ReLU follows.

  Returns:
    N×H×W×C.
  """
  y = sum((term for term in terms if term is not None), start=y)
  return jax.nn.relu(y) if relu else y
