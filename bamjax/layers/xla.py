"""Convolutions written with XLA's operations, for every platform."""

import jax
from jax import lax

from bamjax.layers import halves


def convolve_by_xla(
  x: jax.Array,
  kernel: jax.Array,
  *,
  groups: int = 1,
  dilation: int = 1,
  stride: int = 1,
) -> jax.Array:
  """Convolves with zero "same" padding, or without padding if strided.

  Args:
    x: N×H×W×C_in.
    kernel: k×k×(C_in/groups)×C_out, k odd.
    groups: number of channel groups.
    dilation: distance between the kernel's taps, in pixels.
    stride: see `bamjax.layers.Conv`.

  Returns:
    N×H×W×C_out, or with a stride smaller maps.
  """
  if kernel.shape[:2] == (1, 1) and groups == stride == 1:
    # A 1×1 convolution is a matrix product, which XLA runs faster on every
    # platform. With two axes, because with four the kernel's gradient would
    # first store a transpose.
    y = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
    return y.reshape(*x.shape[:-1], kernel.shape[-1])
  pad = dilation * (kernel.shape[0] // 2) if stride == 1 else 0
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=(stride, stride),
    padding=((pad, pad), (pad, pad)),
    rhs_dilation=(dilation, dilation),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    feature_group_count=groups,
  )


ACTIVATIONS = {"": lambda x: x, "relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid}


def add_terms(
  y: jax.Array, *terms: jax.Array | None, activation: str
) -> jax.Array:
  """Computes activation(y + terms).

  Args:
    y: N×H×W×C.
    *terms: N×H×W×C, (C,), or None, which is skipped.
    activation: one of `ACTIVATIONS`, through which the sum goes.

  Returns:
    N×H×W×C.
  """
  known = [term for term in terms if term is not None]
  return halves.elementwise(
    lambda *terms: ACTIVATIONS[activation](sum(terms[1:], start=terms[0])),
    *(y, *known),
  )
