"""The gradient of a convolution's kernel on the CPU.

XLA's own reaches 10 to 90 GFLOP/s on two cores, where matrix products reach 200
(docs/performance.md). Of 3×3 kernels it is done with half the products by
Winograd's minimal filtering where a program runs so often that a longer
compilation pays (`compile_for("many_runs")`).
"""

import functools
import math

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from bamjax.layers import purpose
from bamjax.layers.xla import direct

# Points of the interpolation, beside infinity. ±√2 and ±1/√2 lose a quarter of
# the digits that the customary ±1 and ±2 lose.
_ROOT = math.sqrt(2)
_POINTS = (0, _ROOT, -_ROOT, 1 / _ROOT, -1 / _ROOT)

# Values of an input whose transforms stay in the cache until their product.
_CACHED = 500_000

# Inputs times outputs up to which pairs of columns are quicker than taps side
# by side.
_NARROW = 600


def kernel_gradient(
  x: jax.Array, dy: jax.Array, *, size: int, groups: int, dilation: int
) -> jax.Array:
  """Gradient of the kernel of a stride-1 'same' convolution.

  Args:
    x: the convolution's input, N×H×W×C_in.
    dy: gradient of its output, N×H×W×C_out.
    size: k of the kernel.
    groups: its channel groups.
    dilation: spacing of its taps.

  Returns:
    k×k×(C_in/groups)×C_out.
  """
  small = size == 3 and dilation == 1
  if small and x.dtype == jnp.float32 and purpose.has_many_runs():
    gradient = by_winograd
  else:

    def gradient(x, dy):
      kernel = jnp.zeros((size, size, x.shape[-1], dy.shape[-1]), x.dtype)
      pull = jax.vjp(lambda k: direct(x, k, dilation=dilation), kernel)[1]
      return pull(dy)[0]

  # XLA's grouped convolutions on the CPU are slower than one a group.
  parts = zip(
    jnp.split(x, groups, axis=-1), jnp.split(dy, groups, axis=-1), strict=True
  )
  return jnp.concatenate([gradient(*part) for part in parts], axis=-1)


@functools.cache
def transforms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Matrices of F(4, 3): y = A ((G g) · (B d)), by Toom and Cook's method.

  4 outputs of a 3-tap filter from 6 products, where taps take 12 (Lavin & Gray
  2016, section 4).

  Returns:
    A 4×6, G 6×3 and B 6×6, float64.
  """
  points = np.array(_POINTS)
  a, g, b = np.zeros((4, 6)), np.zeros((6, 3)), np.zeros((6, 6))
  for i, point in enumerate(points):
    others = np.delete(points, i)
    a[:, i] = point ** np.arange(4)
    g[i] = point ** np.arange(3) / np.prod(point - others)
    b[i, :5] = np.poly(others)[::-1]
  a[-1, -1] = g[-1, -1] = 1
  b[-1] = np.poly(points)[::-1]
  b[np.abs(b) < 1e-12] = 0
  # Powers of two move from the input's to the kernel's transform, exactly.
  factor = 2 ** np.round(np.log2(np.abs(b).max(axis=1, keepdims=True)))
  return a, g * factor, b / factor


def by_winograd(x: jax.Array, dy: jax.Array) -> jax.Array:
  """Gradient of a 3×3 kernel, in columns of 4 outputs: half the products.

  In float32 it differs from direct sums by some 1e-6 of the largest value.

  Args:
    x: the convolution's input, N×H×W×C_in, float32.
    dy: gradient of its output, N×H×W×C_out.

  Returns:
    3×3×C_in×C_out.
  """
  a, g, b = transforms()
  most = min(max(_CACHED * len(x) // x.size, 1), len(x))
  each = next(i for i in range(most, 0, -1) if len(x) % i == 0)

  def add(total, images):
    return total + _products(*images, a, b), None

  zero = jnp.zeros((6, dy.shape[-1], 3, x.shape[-1]), x.dtype)
  parts = [z.reshape(-1, each, *z.shape[1:]) for z in (x, dy)]
  total, _ = lax.scan(add, zero, tuple(parts))
  return jnp.einsum(
    "ai,aojc->ijco", g.astype(np.float32), total, precision="highest"
  )


def _products(x, dy, a, b):
  """The six matrix products of some images, 6×C_out×3×C_in."""
  n, height, width, depth = x.shape
  features = dy.shape[-1]
  count = -(-height // 4)
  below, odd = 4 * count - height, width % 2
  # Columns and channels are one axis: XLA's loops over it are long ones.
  x, dy = (z.reshape(n, height, -1) for z in (x, dy))
  x = jnp.pad(x, ((0, 0), (1, below + 1), (depth, (1 + odd) * depth)))
  dy = jnp.pad(dy, ((0, 0), (0, below), (0, odd * features)))
  outputs = [_every_fourth(dy, i, count) for i in range(4)]

  def rows(column):
    values = x[:, :, column * depth :][:, :, : (width + odd) * depth]
    return [_every_fourth(values, i, count) for i in range(6)]

  if depth * features <= _NARROW:
    multiply, parts = _by_pairs, [rows(0), rows(2)]
  else:
    multiply, parts = _by_taps, [rows(0), rows(1), rows(2)]
  return jnp.stack(
    [
      multiply(
        _combine(a[:, i], outputs).reshape(-1, features),
        [_combine(b[i], part).reshape(-1, depth) for part in parts],
      )
      for i in range(6)
    ]
  )


def _by_taps(w, v):
  """C_out×3×C_in of w, P×C_out, and v of each tap, P×C_in: one product."""
  # XLA's product is up to 1.5 times as fast with the wider on the right.
  product = w.T @ jnp.concatenate(v, axis=-1)
  return product.reshape(w.shape[-1], 3, -1)


def _by_pairs(w, v):
  """As `_by_taps`, of v of the first and last tap alone, in pairs of columns.

  Two products of twice the width each way. Of their eight blocks two are of no
  tap, but nothing is laid side by side.
  """
  features, depth = w.shape[-1], v[0].shape[-1]
  w = w.reshape(-1, 2 * features).T
  near, far = (
    (w @ z.reshape(-1, 2 * depth)).reshape(2, features, 2, depth) for z in v
  )
  # Axes: the output's column in its pair, C_out, the input's column, C_in.
  taps = [
    near[0, :, 0] + near[1, :, 1],
    near[0, :, 1] + far[1, :, 0],
    far[0, :, 0] + far[1, :, 1],
  ]
  return jnp.stack(taps, axis=1)


def _every_fourth(x, first, count):
  last = first + 4 * (count - 1)
  return lax.slice_in_dim(x, first, last + 1, stride=4, axis=1)


def _combine(weights, parts):
  """Σ weight·part, where a weight isn't zero."""
  return sum(
    part if weight == 1 else np.float32(weight) * part
    for weight, part in zip(weights, parts, strict=True)
    if weight
  )
