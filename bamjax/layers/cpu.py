"""Which algorithm convolves on the CPU; docs/performance.md has the figures.

XLA's own convolution there is slow in two cases: of maps of one or two
channels, as BAM's spatial attention has, and of groups. Of the others it has
half of the rate of oneDNN's, which is taken where there is one.
"""

import jax
from jax import lax
import jax.numpy as jnp

from bamjax.layers import onednn
from bamjax.layers.kernel_gradient import direct


def convolve(
  x: jax.Array, kernel: jax.Array, *, groups: int, dilation: int
) -> jax.Array:
  """Arguments are those of `convolution.convolve`."""
  size, _, depth, features = kernel.shape
  if size > 1 and dilation == 1 and depth <= 2 and features == 1:
    # The choice is made where the program is lowered: one that is exported
    # here may be for another platform.
    return lax.platform_dependent(x, kernel, cpu=_tap_by_tap, default=direct)
  if x.dtype == kernel.dtype == jnp.float32 and onednn.usable():
    return onednn.convolve(x, kernel, groups=groups, dilation=dilation)
  # XLA's grouped convs on the CPU are 5-10 times slower than this.
  parts = zip(
    jnp.split(x, groups, axis=-1),
    jnp.split(kernel, groups, axis=-1),
    strict=True,
  )
  return jnp.concatenate(
    [direct(a, b, dilation=dilation) for a, b in parts], axis=-1
  )


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
