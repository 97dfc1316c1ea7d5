"""3×3 convolutions by fewer multiplications, for the CPU.

Winograd's minimal filtering F(m, 3) (Lavin & Gray 2016, section 4) makes m
outputs of a 3-tap filter from m + 2 products, where taps take 3m: tiles of the
input are transformed, multiplied with the transformed kernel, one matrix
product a position of the tile, and the products transformed back. In float32
results differ from direct sums by some 1e-6 of the largest value.

XLA's own convolution on the CPU packs patches at 40 to 80 % of the rate of its
matrix products, and its weight gradient at a third of that; docs/performance.md
has the measurements behind the choices here.
"""

import functools
import math

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

# Points of the interpolation, beside infinity. ±√2 and ±1/√2 lose a quarter of
# the digits that the customary ±1 and ±2 lose.
_ROOT = math.sqrt(2)
_POINTS = {2: (0, 1, -1), 4: (0, _ROOT, -_ROOT, 1 / _ROOT, -1 / _ROOT)}


@functools.cache
def transforms(m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Matrices of F(m, 3): y = A ((G g) · (B d)), by Toom and Cook's method.

  Args:
    m: outputs of a tile, 2 or 4.

  Returns:
    A m×(m+2), G (m+2)×3 and B (m+2)×(m+2), float64.
  """
  points = np.array(_POINTS[m])
  n = m + 2
  a, g, b = np.zeros((m, n)), np.zeros((n, 3)), np.zeros((n, n))
  for i, point in enumerate(points):
    others = np.delete(points, i)
    a[:, i] = point ** np.arange(m)
    g[i] = point ** np.arange(3) / np.prod(point - others)
    b[i, : n - 1] = np.poly(others)[::-1]
  a[-1, -1] = g[-1, -1] = 1
  b[-1] = np.poly(points)[::-1]
  b[np.abs(b) < 1e-12] = 0
  # Powers of two move from the input's to the kernel's transform, exactly.
  factor = 2 ** np.round(np.log2(np.abs(b).max(axis=1, keepdims=True)))
  return a, g * factor, b / factor


def _combine(weights, parts):
  """Σ weight·part, where a weight isn't zero."""
  return sum(
    part if weight == 1 else np.float32(weight) * part
    for weight, part in zip(weights, parts, strict=True)
    if weight
  )


def _transform(vertical, horizontal, tap) -> list[jax.Array]:
  """Both transforms at once, a flat array a position of the tile.

  Args:
    vertical: matrix of the vertical transform.
    horizontal: matrix of the horizontal one.
    tap: maps (row, column) in a tile to that place of all tiles, …×C.

  Returns:
    An array (tiles, C) for each (row of vertical, row of horizontal).
  """
  rows, columns = vertical.shape[1], horizontal.shape[1]
  taps = [tap(i, j) for i in range(rows) for j in range(columns)]
  # One pass over the taps for each position: XLA fuses it into a loop that
  # reads only the cache.
  return [
    _combine(np.outer(v, h).ravel(), taps).reshape(-1, taps[0].shape[-1])
    for v in vertical
    for h in horizontal
  ]


def _taps(x: jax.Array, tile: tuple[int, int], count: tuple[int, int]):
  """Maps (row, column) in a tile to that place of all tiles, N×T_h×T_w×C."""
  n, _, _, c = x.shape

  def tap(i, j):
    limits = (
      n,
      i + tile[0] * (count[0] - 1) + 1,
      j + tile[1] * (count[1] - 1) + 1,
      c,
    )
    return lax.slice(x, (0, i, j, 0), limits, (1, *tile, 1))

  return tap


def _tiles(x: jax.Array, tile: tuple[int, int]) -> tuple[int, int]:
  return tuple(
    -(-side // m) for side, m in zip(x.shape[1:3], tile, strict=True)
  )


def _halo(x, tile, count):
  """x with a ring of zeros, as long as its tiles are."""
  pads = [
    (1, m * t + 1 - side)
    for side, m, t in zip(x.shape[1:3], tile, count, strict=True)
  ]
  return jnp.pad(x, ((0, 0), *pads, (0, 0)))


def _matrices(tile):
  """The transforms of a tile: vertical and horizontal A, G and B."""
  return zip(*map(transforms, tile), strict=True)


def tiled(
  x: jax.Array, kernel: jax.Array, tile: tuple[int, int] = (2, 4)
) -> jax.Array:
  """Convolution by two-dimensional tiles: 3 products an output, not 9.

  Args:
    x: N×H×W×C_in, float32.
    kernel: 3×3×C_in×C_out.
    tile: outputs of a tile, down and across, 2 or 4 each.

  Returns:
    N×H×W×C_out, with zero 'same' padding.
  """
  n, h, w, _ = x.shape
  count = _tiles(x, tile)
  (a_v, a_h), (g_v, g_h), (b_v, b_h) = _matrices(tile)
  u = _kernel_transform(kernel, g_v, g_h)
  v = _transform(b_v, b_h, _taps(_halo(x, tile, count), tile, count))
  products = [a @ b for a, b in zip(v, u, strict=True)]
  columns = b_h.shape[0]
  y = _transform(a_v, a_h, lambda i, j: products[i * columns + j])
  y = [part.reshape(n, count[0], 1, count[1], 1, -1) for part in y]
  rows = [
    jnp.concatenate(y[i : i + tile[1]], axis=4)
    for i in range(0, len(y), tile[1])
  ]
  y = jnp.concatenate(rows, axis=2)
  y = y.reshape(n, count[0] * tile[0], count[1] * tile[1], -1)
  return y[:, :h, :w]


def _kernel_transform(kernel, g_v, g_h):
  """G·kernel·Gᵀ, a list of C_in×C_out by position."""
  u = jnp.einsum(
    "ai,bj,ijco->abco",
    g_v.astype(np.float32),
    g_h.astype(np.float32),
    kernel,
    precision="highest",
  )
  return list(u.reshape(-1, *kernel.shape[2:]))


def striped(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Convolution by columns of 4 outputs: 4.5 products an output, not 9.

  The three horizontal taps are side by side in the depth of the products, which
  are few and deep: for pictures so small that starting a product counts.

  Args:
    x: N×H×W×C_in, float32.
    kernel: 3×3×C_in×C_out.

  Returns:
    N×H×W×C_out, with zero 'same' padding.
  """
  n, h, w, c = x.shape
  features = kernel.shape[-1]
  a, g, b = transforms(4)
  count = -(-h // 4)
  u = jnp.einsum(
    "ai,ijco->ajco", g.astype(np.float32), kernel, precision="highest"
  ).reshape(len(b), 3 * c, features)
  # Whole rows at a time, which are long loops whatever the channels.
  x = _halo(x, (4, 1), (count, w)).reshape(n, -1, 1, (w + 2) * c)
  tap = _taps(x, (4, 1), (count, 1))
  products = []
  for i, row in enumerate(b):
    v = _combine(row, [tap(j, 0) for j in range(len(b))])
    v = v.reshape(n, count, w + 2, c)
    v = jnp.concatenate([v[:, :, j : j + w] for j in range(3)], axis=-1)
    product = v.reshape(-1, 3 * c) @ u[i]
    products.append(product.reshape(n, count, w * features))
  y = [_combine(row, products).reshape(n, count, 1, w, features) for row in a]
  return jnp.concatenate(y, axis=2).reshape(n, -1, w, features)[:, :h]


def kernel_gradient(
  x: jax.Array, dy: jax.Array, images: int, tile: tuple[int, int] = (4, 4)
) -> jax.Array:
  """Gradient of the kernel of a 3×3 convolution, by tiles.

  Args:
    x: the convolution's input, N×H×W×C_in, float32.
    dy: gradient of its output, N×H×W×C_out.
    images: pictures done at once, a divisor of N: their tiles stay in the
      cache from the transform to the product.
    tile: outputs of a tile.

  Returns:
    3×3×C_in×C_out.
  """
  count = _tiles(x, tile)
  (a_v, a_h), (g_v, g_h), (b_v, b_h) = _matrices(tile)
  bottom, right = (
    t * m - side for t, m, side in zip(count, tile, x.shape[1:3], strict=True)
  )

  def add(total, pictures):
    x, dy = pictures
    v = _transform(b_v, b_h, _taps(_halo(x, tile, count), tile, count))
    dy = jnp.pad(dy, ((0, 0), (0, bottom), (0, right), (0, 0)))
    w = _transform(a_v.T, a_h.T, _taps(dy, tile, count))
    products = [a.T @ b for a, b in zip(v, w, strict=True)]
    return total + jnp.stack(products), None

  zero = jnp.zeros((len(b_v) * len(b_h), x.shape[-1], dy.shape[-1]), x.dtype)
  if images == len(x):
    total, _ = add(zero, (x, dy))
  else:
    parts = [z.reshape(-1, images, *z.shape[1:]) for z in (x, dy)]
    total, _ = lax.scan(add, zero, tuple(parts))
  return jnp.einsum(
    "ai,bj,abco->ijco",
    g_v.astype(np.float32),
    g_h.astype(np.float32),
    total.reshape(len(b_v), len(b_h), *total.shape[1:]),
    precision="highest",
  )
