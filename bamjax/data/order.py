"""A random order whose elements are computed independently of each other.

Sorting random numbers would compute the whole order at once, which takes
seconds for millions of crops. This permutation is computed for a single index:
a Feistel network on a rectangle with slightly more cells than elements, which
is applied again while the result exceeds the last element ("cycle walking").

Source: Black & Rogaway, "Ciphers with arbitrary finite domains", 2002.
"""

import math

import jax
from jax import lax
import jax.numpy as jnp

# Enough that all orders of a few elements are equally frequent.
_ROUNDS = 16


def element(key: jax.Array, place: jax.Array, count: int) -> jax.Array:
  """Returns the element at one place of a random order of 0 … count − 1.

  Args:
    key: a `jax.random` key, which determines the order.
    place: uint32 scalar, 0 to count − 1.
    count: number of elements, less than 2³¹.

  Returns:
    uint32 scalar, a different one for each place.
  """
  # An odd number of rows would exclude all odd permutations.
  rows = 2 * math.ceil(math.sqrt(count) / 2)
  columns = -(-count // rows)
  keys = jax.random.bits(key, (_ROUNDS,), jnp.uint32)

  def two_rounds(
    i: jax.Array, cell: tuple[jax.Array, jax.Array]
  ) -> tuple[jax.Array, jax.Array]:
    row, column = cell
    row = (row + _mix(column ^ keys[2 * i]) % rows) % rows
    return row, (column + _mix(row ^ keys[2 * i + 1]) % columns) % columns

  def permute(
    walk: tuple[jax.Array, jax.Array],
  ) -> tuple[jax.Array, jax.Array]:
    cell = divmod(walk[0], columns)
    row, column = lax.fori_loop(0, _ROUNDS // 2, two_rounds, cell)
    place = row * columns + column
    return place, place >= count

  # The walk ends: a cycle that contains a valid place returns to one.
  first = place, jnp.array(True)
  place, _ = lax.while_loop(lambda walk: walk[1], permute, first)
  return place


def _mix(x: jax.Array) -> jax.Array:
  """Mixes 32 bits, as the last steps of MurmurHash3 do."""
  x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
  return x ^ (x >> 16)


def locate(
  step: jax.Array, index: jax.Array, batch_size: int, count: int
) -> tuple[jax.Array, jax.Array]:
  """Returns the epoch of a sample and its place in that epoch.

  This is divmod(step · batch_size + index, count), exact even if the product
  exceeds 32 bits.

  Args:
    step: int32 or uint32 scalar.
    index: int32 or uint32, the sample's index in its batch.
    batch_size: samples per step.
    count: samples per epoch, less than 2³¹.

  Returns:
    The epoch modulo 2³² and the place, uint32 with the shape of `index`.
  """
  step, index = (jnp.asarray(x).astype(jnp.uint32) for x in (step, index))
  total = jnp.uint32(count)
  # step · batch_size by doubling, over the binary digits of batch_size.
  epoch = place = jnp.uint32(0)
  whole, rest = step // total, step % total
  for digit in f"{batch_size:b}":
    epoch, place = _carry(2 * epoch, 2 * place, total)
    if digit == "1":
      epoch, place = _carry(epoch + whole, place + rest, total)
  return _carry(epoch + index // total, place + index % total, total)


def _carry(
  epoch: jax.Array, place: jax.Array, count: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Carries a place from `count` to 2 · `count` over to the next epoch."""
  over = place >= count
  return epoch + over.astype(jnp.uint32), place - over * count
