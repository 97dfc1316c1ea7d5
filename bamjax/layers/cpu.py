"""Which algorithm convolves on the CPU: chosen by shape, from measurements.

XLA's own convolution there is slow in two cases: 3×3 kernels, whose weight
gradient reaches a third of a matrix product's rate, and maps of one or two
channels, as BAM's spatial attention has. docs/performance.md has the figures.
Other algorithms take longer to compile, so that they pay where a program runs
many times, and are asked for with `many_runs`; results differ by rounding only.
Forward-mode differentiation (`jax.jvp`) goes through XLA's convolution alone:
of another one it is an error of JAX's.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp

from bamjax.layers import winograd

# Programs that are traced where this is True will run many times, so that a
# longer compilation pays: a long training, a server, a benchmark. It is part of
# `jax.jit`'s cache key.
many_runs = jax.make_user_context(False)

# Values of an input up to which few deep products beat many small ones: of wide
# layers, and of those with so few channels that small products starve.
_SMALL, _NARROW = 600_000, 1_000_000
# Values of an input whose gradient's tiles fit into the cache.
_CACHED = 600_000


def direct(
  x: jax.Array, kernel: jax.Array, groups: int = 1, dilation: int = 1
) -> jax.Array:
  """XLA's own convolution; arguments are those of `convolution.convolve`."""
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


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Stride-1 'same' convolution, without groups and dilation.

  Args:
    x: N×H×W×C_in.
    kernel: k×k×C_in×C_out, k odd, same dtype as x.
  """
  size, _, depth, features = kernel.shape
  if size > 1 and depth <= 2 and features == 1:
    return _on_cpu(_tap_by_tap, direct, x, kernel)
  if many_runs.value and size == 3 and min(depth, features) >= 16:
    # A program that is exported may have heights and widths that are no number.
    large = all(isinstance(n, int) and n >= 16 for n in x.shape[1:3])
    if large and x.dtype == kernel.dtype == jnp.float32:
      return _wide(x, kernel)
  return direct(x, kernel)


def _on_cpu(form, other, *args):
  """The first form in programs for the CPU, the other elsewhere.

  The choice is made where the program is lowered: one exported on a CPU may be
  for another platform.
  """
  return lax.platform_dependent(*args, cpu=form, default=other)


def _gradients(x, kernel, dy):
  return jax.vjp(direct, x, kernel)[1](dy)


def _turned(kernel):
  """A convolution's transpose in x is one with this kernel."""
  return kernel[::-1, ::-1].swapaxes(2, 3)


def _winograd(x, kernel):
  def form(x, kernel):
    if x.size <= (_SMALL if kernel.shape[2] >= 32 else _NARROW):
      return winograd.striped(x, kernel)
    return winograd.tiled(x, kernel)

  return _on_cpu(form, direct, x, kernel)


@jax.custom_vjp
def _wide(x, kernel):
  return _winograd(x, kernel)


def _wide_forward(x, kernel):
  return _winograd(x, kernel), (x, kernel)


def _wide_backward(saved, dy):
  x, kernel = saved
  most = min(max(_CACHED * len(x) // x.size, 1), len(x))
  images = next(i for i in range(most, 0, -1) if len(x) % i == 0)
  dk = _on_cpu(
    functools.partial(winograd.kernel_gradient, images=images),
    lambda x, dy: _gradients(x, kernel, dy)[1],
    x,
    dy,
  )
  return _winograd(dy, _turned(kernel)), dk


_wide.defvjp(_wide_forward, _wide_backward)


def _tap_by_tap(x, kernel):
  """One loop over a few channels' positions, which adds up all taps."""
  size, _, depth, features = kernel.shape
  n, h, w, _ = x.shape
  half = size // 2
  # Else what makes x would be done again for each tap.
  x = lax.optimization_barrier(x)
  x = jnp.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
  maps = [
    sum(
      x[:, i : i + h, j : j + w, c] * kernel[i, j, c, o]
      for i in range(size)
      for j in range(size)
      for c in range(depth)
    )
    for o in range(features)
  ]
  return jnp.stack(maps, axis=-1)
