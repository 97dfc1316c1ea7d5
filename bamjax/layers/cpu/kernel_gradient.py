"""The gradient of a convolution's kernel on the CPU.

XLA's gradient reaches 10 to 90 GFLOP/s on two cores, and matrix products reach
200 (docs/performance.md). In programs that run many times
(`compile_for("many_runs")`), the gradient of 3×3 kernels is computed by
Winograd's minimal filtering, with half the multiplications. It takes longer to
compile.
"""

from collections.abc import Callable
from collections.abc import Sequence
import functools
import math

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from bamjax.layers import halves
from bamjax.layers import purpose
from bamjax.layers.cpu import onednn_product
from bamjax.layers.xla import convolve_by_xla

# Interpolation points, in addition to infinity. ±√2 and ±1/√2 lose a quarter of
# the digits that the usual ±1 and ±2 lose.
_ROOT = math.sqrt(2)
_POINTS = (0, _ROOT, -_ROOT, 1 / _ROOT, -1 / _ROOT)

# Size of an input, in values, whose transforms stay in the cache until they are
# multiplied.
_CACHED = 500_000

# C_in · C_out up to which `_by_pairs` is faster than `_by_taps`.
_NARROW = 600


def kernel_gradient(
  x: jax.Array, dy: jax.Array, *, size: int, groups: int, dilation: int
) -> jax.Array:
  """Returns the gradient of the kernel of a stride-1 "same" convolution.

  Args:
    x: input of the convolution, N×H×W×C_in.
    dy: gradient of its output, N×H×W×C_out.
    size: k, the side of the kernel.
    groups: number of channel groups.
    dilation: distance between the kernel's taps, in pixels.

  Returns:
    k×k×(C_in/groups)×C_out.
  """
  if groups == x.shape[-1] > 1:
    if purpose.has_many_runs():
      return _channel_by_channel(x, dy, size, dilation)
    return _by_xla(x, dy, size, dilation, groups)
  small = size == 3 and dilation == 1
  gradient: Callable[[jax.Array, jax.Array], jax.Array]
  if x.dtype == jnp.bfloat16 and (size == 1 or small):
    gradient = functools.partial(by_product, size=size)
  elif small and x.dtype == jnp.float32 and purpose.has_many_runs():
    gradient = by_winograd
  else:
    gradient = functools.partial(_by_xla, size=size, dilation=dilation)
  # XLA's grouped convolutions on the CPU are slower than one for each group.
  parts = zip(
    jnp.split(x, groups, axis=-1), jnp.split(dy, groups, axis=-1), strict=True
  )
  return jnp.concatenate([gradient(*part) for part in parts], axis=-1)


def _by_xla(
  x: jax.Array, dy: jax.Array, size: int, dilation: int, groups: int = 1
) -> jax.Array:
  shape = size, size, x.shape[-1] // groups, dy.shape[-1]

  def convolve(kernel: jax.Array) -> jax.Array:
    return convolve_by_xla(x, kernel, groups=groups, dilation=dilation)

  return jax.vjp(convolve, jnp.zeros(shape, x.dtype))[1](dy)[0]


def _channel_by_channel(
  x: jax.Array, dy: jax.Array, size: int, dilation: int
) -> jax.Array:
  """The gradient if each channel is convolved by itself.

  Compiles longer than XLA's, and runs a few times as fast.
  """
  x = jnp.repeat(x, dy.shape[-1] // x.shape[-1], axis=-1)
  pad = dilation * (size // 2)
  x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  # Otherwise x would be computed again for each tap.
  x = lax.optimization_barrier(x)
  _, height, width, _ = dy.shape

  def tap(i: int, j: int) -> jax.Array:
    i, j = dilation * i, dilation * j
    return jnp.sum(x[:, i : i + height, j : j + width] * dy, axis=(0, 1, 2))

  taps = [jnp.stack([tap(i, j) for j in range(size)]) for i in range(size)]
  return jnp.stack(taps)[:, :, None]


def by_product(x: jax.Array, dy: jax.Array, size: int) -> jax.Array:
  """Returns the gradient of a kernel, by one product of bfloat16 in oneDNN.

  For 3×3, x is repeated at three columns and dy at three rows, side by side in
  the channels: their product holds all nine taps.

  Args:
    x: input of the convolution, N×H×W×C_in, bfloat16.
    dy: gradient of its output, N×H×W×C_out.
    size: 1 or 3.

  Returns:
    k×k×C_in×C_out, float32.
  """
  depth, features = x.shape[-1], dy.shape[-1]
  if size > 1:
    x = _shifted(x, (1, 0, -1), axis=2)
    dy = _shifted(dy, (-1, 0, 1), axis=1)
  product = onednn_product.transposed_product(
    x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
  )
  product = product.reshape(size, depth, size, features)
  return product.transpose(2, 0, 1, 3)


def _shifted(x: jax.Array, steps: Sequence[int], axis: int) -> jax.Array:
  """x moved by steps along an axis, one in the channels after the other."""
  edges = [(0, 0)] * x.ndim
  edges[axis] = (1, 1)
  # Otherwise XLA would pad anew for each step.
  wide = lax.optimization_barrier(jnp.pad(x, edges))
  return halves.concatenate(
    [
      lax.slice_in_dim(wide, 1 - step, 1 - step + x.shape[axis], axis=axis)
      for step in steps
    ]
  )


@functools.cache
def transforms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns the matrices of F(4, 3): y = A ((G g) · (B d)).

  4 outputs y of a 3-tap filter g from 6 products instead of 12, for inputs d
  (Lavin & Gray 2016, section 4), by the Toom-Cook method.

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
  # Moves powers of two from the input's to the kernel's transform, exactly.
  factor = 2 ** np.round(np.log2(np.abs(b).max(axis=1, keepdims=True)))
  return a, g * factor, b / factor


def by_winograd(x: jax.Array, dy: jax.Array) -> jax.Array:
  """Returns the gradient of a 3×3 kernel, with half the multiplications.

  Transforms columns of 4 outputs. The result differs from direct sums by about
  1e-6 of the largest value.

  Args:
    x: input of the convolution, N×H×W×C_in, float32.
    dy: gradient of its output, N×H×W×C_out.

  Returns:
    3×3×C_in×C_out.
  """
  a, g, b = transforms()
  most = min(max(_CACHED * len(x) // x.size, 1), len(x))
  each = next(i for i in range(most, 0, -1) if len(x) % i == 0)

  def add(
    total: jax.Array, images: tuple[jax.Array, ...]
  ) -> tuple[jax.Array, None]:
    x, dy = images
    return total + _products(x, dy, a, b), None

  zero = jnp.zeros((6, dy.shape[-1], 3, x.shape[-1]), x.dtype)
  parts = [z.reshape(-1, each, *z.shape[1:]) for z in (x, dy)]
  total, _ = lax.scan(add, zero, tuple(parts))
  return jnp.einsum(
    "ai,aojc->ijco", g.astype(np.float32), total, precision="highest"
  )


def _products(
  x: jax.Array, dy: jax.Array, a: np.ndarray, b: np.ndarray
) -> jax.Array:
  """The six matrix products of some images, 6×C_out×3×C_in."""
  n, height, width, depth = x.shape
  features = dy.shape[-1]
  count = -(-height // 4)
  below, odd = 4 * count - height, width % 2
  # Columns and channels share an axis, for long inner loops.
  x, dy = (z.reshape(n, height, -1) for z in (x, dy))
  x = jnp.pad(x, ((0, 0), (1, below + 1), (depth, (1 + odd) * depth)))
  dy = jnp.pad(dy, ((0, 0), (0, below), (0, odd * features)))
  outputs = [_every_fourth(dy, i, count) for i in range(4)]

  def rows(column: int) -> list[jax.Array]:
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


def _by_taps(w: jax.Array, v: list[jax.Array]) -> jax.Array:
  """C_out×3×C_in from w, P×C_out, and v of 3 taps, P×C_in: one product."""
  # XLA is up to 1.5 times as fast with the wider matrix on the right.
  product = w.T @ jnp.concatenate(v, axis=-1)
  return product.reshape(w.shape[-1], 3, -1)


def _by_pairs(w: jax.Array, v: list[jax.Array]) -> jax.Array:
  """Returns what `_by_taps` does, from v of the first and last tap only.

  Multiplies pairs of columns: two products of twice the width and height. Two
  of their eight blocks belong to no tap, but nothing is concatenated.
  """
  features, depth = w.shape[-1], v[0].shape[-1]
  w = w.reshape(-1, 2 * features).T
  near, far = (
    (w @ z.reshape(-1, 2 * depth)).reshape(2, features, 2, depth) for z in v
  )
  # Axes: column of the output in its pair, C_out, column of the input, C_in.
  taps = [
    near[0, :, 0] + near[1, :, 1],
    near[0, :, 1] + far[1, :, 0],
    far[0, :, 0] + far[1, :, 1],
  ]
  return jnp.stack(taps, axis=1)


def _every_fourth(x: jax.Array, first: int, count: int) -> jax.Array:
  last = first + 4 * (count - 1)
  return lax.slice_in_dim(x, first, last + 1, stride=4, axis=1)


def _combine(weights: np.ndarray, parts: list[jax.Array]) -> jax.Array:
  """Σ weight·part, over weights that aren't zero."""
  terms = [
    part if weight == 1 else np.float32(weight) * part
    for weight, part in zip(weights, parts, strict=True)
    if weight
  ]
  return sum(terms[1:], start=terms[0])
