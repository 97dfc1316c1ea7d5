"""Which algorithm convolves on the CPU; docs/performance.md has the figures.

XLA's own convolution there is slow in two cases: of maps of one or two
channels, as BAM's spatial attention has, and of groups. Of the others it has
half of the rate of oneDNN's, which is taken where there is one.
"""

import jax
from jax import lax
import jax.numpy as jnp

from bamjax.layers import purpose
from bamjax.layers.cpu import onednn
from bamjax.layers.xla import direct
from bamjax.layers.xla import finish

# Values of an input from which on oneDNN's 1×1 convolution, with what comes
# after it, is quicker than a matrix product.
_LARGE = 2**14


def convolve(
  x: jax.Array,
  kernel: jax.Array,
  bias: jax.Array | None,
  add: jax.Array | None,
  *,
  relu: bool,
  groups: int,
  dilation: int,
) -> jax.Array:
  """Arguments are those of `convolution.convolve`."""
  size, _, depth, features = kernel.shape
  few = size > 1 and dilation == 1 and depth <= 2 and features == 1
  if few and not purpose.has_one_form():
    # The choice is made where the program is lowered: one that is exported
    # here may be for another platform.
    y = lax.platform_dependent(x, kernel, cpu=_tap_by_tap, default=direct)
  elif _by_onednn(x, kernel, bias, add, relu):
    options = {"relu": relu, "groups": groups, "dilation": dilation}
    return onednn.convolve(x, kernel, bias, add, **options)
  else:
    # XLA's grouped convs on the CPU are 5-10 times slower than this.
    parts = zip(
      jnp.split(x, groups, axis=-1),
      jnp.split(kernel, groups, axis=-1),
      strict=True,
    )
    parts = [direct(a, b, dilation=dilation) for a, b in parts]
    y = jnp.concatenate(parts, axis=-1)
  return finish(y, bias, add, relu=relu)


def _by_onednn(x, kernel, bias, add, relu) -> bool:
  if not x.dtype == kernel.dtype == jnp.float32 or 0 in x.shape:
    return False
  if kernel.shape[0] == 1:
    plain = bias is None and add is None and not relu
    # A program that is exported may have sizes that are no number.
    known = all(isinstance(n, int) for n in x.shape)
    if plain or not known or x.size < _LARGE:
      return False
  return onednn.usable()


def stored(x: jax.Array) -> jax.Array:
  """x itself, of any shape, in memory before it is read more than once.

  XLA on the CPU else makes x again, if it comes of a concatenation or
  activation, in each of the passes that read it. Elsewhere, and in programs
  for export, nothing is done.
  """
  if jax.default_backend() != "cpu" or purpose.is_portable():
    return x
  return lax.optimization_barrier(x)


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
