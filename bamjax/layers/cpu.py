"""Which algorithm convolves on the CPU: chosen by shape, from measurements.

XLA's own convolution there is slow in two cases: 3×3 kernels, whose weight
gradient reaches a third of a matrix product's rate, and maps of one or two
channels, as BAM's spatial attention has. docs/performance.md has the figures.
Other algorithms take longer to compile, so that they pay where a program runs
many times; results differ by rounding only. Forward-mode differentiation goes
through XLA's convolution alone: `jax.jvp` of a chosen one is an error of JAX's.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp

from bamjax.layers import winograd

# Programs that are traced where this is True will run many times, so that a
# longer compilation pays: video, a server, a benchmark. Where it is None, steps
# of training with large batches count as many, inference does not; where False,
# nothing does. It is part of `jax.jit`'s cache key.
many_runs = jax.make_user_context(None)

# Values of an input up to which few deep products beat many small ones: of wide
# layers, and of those with so few channels that small products starve.
_SMALL, _NARROW = 600_000, 1_000_000
# Values of an input whose gradient's tiles fit into the cache.
_CACHED = 600_000
# Values of a training step's input from which on it pays, and positions of one
# of few channels.
_WORTH, _WORTH_MAP = 1_000_000, 32_768


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
  if x.dtype == kernel.dtype == jnp.float32 and min(x.shape[1:3]) >= 16:
    if size == 3 and min(depth, features) >= 16:
      return _wide(x, kernel)
    if size > 1 and depth <= 2 and features == 1:
      return _map(x, kernel)
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


def _pays(x) -> bool:
  """Whether a training step's convolution of x is worth the compilation."""
  many = many_runs.value
  return x.size >= _WORTH if many is None else many


@jax.custom_vjp
def _wide(x, kernel):
  return (_winograd if many_runs.value else direct)(x, kernel)


def _wide_forward(x, kernel):
  return (_winograd if _pays(x) else direct)(x, kernel), (x, kernel)


def _wide_backward(saved, dy):
  x, kernel = saved
  if not _pays(x):
    return _gradients(x, kernel, dy)
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

  def form(x, kernel):
    size, _, depth, features = kernel.shape
    n, h, w, _ = x.shape
    half = size // 2
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

  return _on_cpu(form, direct, x, kernel)


def _map_pays(x) -> bool:
  many = many_runs.value
  return x.size >= _WORTH_MAP if many is None else many


@jax.custom_vjp
def _map(x, kernel):
  return (_tap_by_tap if many_runs.value else direct)(x, kernel)


def _map_forward(x, kernel):
  return (_tap_by_tap if _map_pays(x) else direct)(x, kernel), (x, kernel)


def _map_backward(saved, dy):
  x, kernel = saved
  if not _map_pays(x):
    return _gradients(x, kernel, dy)
  return _tap_by_tap(dy, _turned(kernel)), _gradients(x, kernel, dy)[1]


_map.defvjp(_map_forward, _map_backward)
