"""Chooses how to convolve on the CPU; docs/performance.md has measurements.

XLA's convolution on the CPU is slow for maps of one or two channels, as in
BAM's spatial attention, and for channel groups, above all for groups of one
channel. Otherwise it has half the speed of oneDNN's, which is used if
available.
"""

import functools

import jax
from jax import lax
from jax.experimental import layout
import jax.numpy as jnp

from bamjax.layers import halves
from bamjax.layers import purpose
from bamjax.layers.cpu import onednn
from bamjax.layers.xla import ACTIVATIONS
from bamjax.layers.xla import add_terms
from bamjax.layers.xla import convolve_by_xla

# Size of an input, in values, from which oneDNN's fused 1×1 convolution is
# faster than a matrix product.
_LARGE = 2**14


def convolve(
  x: jax.Array,
  kernel: jax.Array,
  bias: jax.Array | None,
  add: jax.Array | None,
  *,
  activation: str,
  groups: int,
  dilation: int,
  stride: int,
  wide: bool,
) -> jax.Array:
  """Implements `bamjax.layers.convolution.convolve` on the CPU."""
  by_onednn = stride == 1 and _by_onednn(x, kernel, bias, add, activation)
  if wide and not by_onednn:
    x, kernel = x.astype(jnp.float32), kernel.astype(jnp.float32)
  size, _, depth, features = kernel.shape
  few = size > 1 and dilation == stride == 1 and depth <= 2 and features == 1
  if few and not purpose.has_one_form():
    # Chosen when the program is lowered, because a program that is exported
    # here may be for another platform.
    y = lax.platform_dependent(
      x, kernel, cpu=_tap_by_tap, default=convolve_by_xla
    )
  elif by_onednn:
    # oneDNN's sigmoid differs from XLA's in float32's last digit.
    fused = activation != "sigmoid" or x.dtype == jnp.bfloat16
    y = onednn.convolve(
      *(x, kernel, bias, add),
      activation=activation if fused else "",
      groups=groups,
      dilation=dilation,
      wide=wide,
    )
    return y if fused else ACTIVATIONS[activation](y)
  elif groups == x.shape[-1] > 1 or stride > 1:
    by_xla = functools.partial(
      convolve_by_xla, groups=groups, dilation=dilation, stride=stride
    )
    if purpose.has_one_form() or depth > 1:
      y = by_xla(x, kernel)
    else:
      by_taps = functools.partial(
        _channel_by_channel, dilation=dilation, stride=stride
      )
      y = lax.platform_dependent(x, kernel, cpu=by_taps, default=by_xla)
  else:
    # XLA's grouped convolutions are 5 to 10 times slower than this.
    xs = jnp.split(x, groups, axis=-1)
    kernels = jnp.split(kernel, groups, axis=-1)
    parts = map(
      functools.partial(convolve_by_xla, dilation=dilation), xs, kernels
    )
    y = jnp.concatenate(list(parts), axis=-1)
  return add_terms(y, bias, add, activation=activation)


def _by_onednn(
  x: jax.Array,
  kernel: jax.Array,
  bias: jax.Array | None,
  add: jax.Array | None,
  activation: str,
) -> bool:
  """Whether oneDNN can do a convolution, and is the faster choice."""
  if x.dtype != kernel.dtype or 0 in x.shape:
    return False
  if kernel.shape[0] == 1:
    # XLA's own product is as fast where it is float32 and nothing is fused.
    alone = bias is None and add is None and activation in ("", "sigmoid")
    plain = alone and x.dtype == jnp.float32
    # Exported programs may have symbolic sizes.
    known = all(isinstance(n, int) for n in x.shape)
    if plain or not known or x.size < _LARGE:
      return False
  return onednn.usable(x.dtype)


def materialized(x: jax.Array) -> jax.Array:
  """Makes XLA write x, of any shape, to memory before it is read.

  Otherwise XLA on the CPU computes a concatenation or an activation again in
  every pass that reads it. Does nothing on other platforms, and in programs for
  export.
  """
  if jax.default_backend() != "cpu" or purpose.is_portable():
    return x
  return lax.optimization_barrier(x)


def rearranged(x: jax.Array) -> jax.Array:
  """Makes XLA write x, of any shape, in the order of its axes.

  XLA on the CPU turns a transposition into a layout, which passes barriers, and
  copies in every pass that reads it. Does nothing where oneDNN does not
  convolve: JAX can't export the request, and partitions no array that has it.
  """
  if not onednn.usable(x.dtype):
    return x
  rows = layout.Layout(tuple(range(x.ndim)))
  return layout.with_layout_constraint(x, rows)


def skipped(
  kernel: jax.Array, parts: list[jax.Array], skip: int
) -> tuple[jax.Array, list[jax.Array]]:
  """A kernel and its input, without the input's first channels.

  oneDNN multiplies bfloat16 in blocks of 32 channels, so that weights of zero
  often cost nothing, where a slice costs a pass.
  """
  (x,) = parts
  if x.dtype == jnp.bfloat16 and onednn.usable(x.dtype):
    return jnp.pad(kernel, ((0, 0), (0, 0), (skip, 0), (0, 0))), [x]
  return kernel, [lax.slice_in_dim(x, skip, None, axis=3)]


def _tap_by_tap(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Convolves few channels in one loop over positions that adds all taps."""
  size, _, depth, features = kernel.shape
  n, h, w, _ = x.shape
  half = size // 2
  # Otherwise x would be computed again for each tap.
  x = lax.optimization_barrier(x)
  dtype = x.dtype
  x, kernel = (
    a.astype(jnp.promote_types(dtype, jnp.float32)) for a in (x, kernel)
  )
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
  return halves.convert(jnp.stack(maps, axis=-1), dtype)


def _channel_by_channel(
  x: jax.Array, kernel: jax.Array, *, dilation: int, stride: int
) -> jax.Array:
  """Convolves each channel by itself, in one loop that adds all taps."""
  size, _, _, features = kernel.shape
  dtype = jnp.promote_types(x.dtype, jnp.float32)  # of the sum
  x = jnp.repeat(x, features // x.shape[-1], axis=-1)
  far = dilation * (size - 1)
  if stride == 1:
    half = far // 2
    x = jnp.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
  # Otherwise x would be computed again for each tap.
  x = lax.optimization_barrier(x)
  rows, columns = (n - far for n in x.shape[1:3])

  def tap(i: int, j: int) -> jax.Array:
    i, j = dilation * i, dilation * j
    # Not by an index, whose symbolic size would have another form than XLA's.
    part = lax.slice_in_dim(x, i, i + rows, stride, axis=1)
    part = lax.slice_in_dim(part, j, j + columns, stride, axis=2)
    return part.astype(dtype)

  taps = [
    tap(i, j) * kernel[i, j, 0].astype(dtype)
    for i in range(size)
    for j in range(size)
  ]
  return halves.convert(functools.reduce(jnp.add, taps), x.dtype)
