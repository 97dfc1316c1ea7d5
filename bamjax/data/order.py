"""The order of an epoch, of which any place is found without the others.

A sort of all crops gives their order at once, and takes seconds where there are
millions. This is a permutation that is computed for one index alone: a Feistel
network on a rectangle of a little more than as many cells, and again on its own
result where that lies beyond the last crop ("cycle walking").

Source: Black & Rogaway, "Ciphers with arbitrary finite domains", 2002.
"""

import math

import jax
from jax import lax
import jax.numpy as jnp

# With as many, all orders of a few crops come equally often.
_ROUNDS = 16


def element(key: jax.Array, place: jax.Array, count: int) -> jax.Array:
  """The element at a place of a random order of 0 to count − 1.

  Args:
    key: of `jax.random`, which decides on the order.
    place: uint32 scalar, 0 to count − 1.
    count: how many there are, less than 2³¹.

  Returns:
    uint32 scalar, a different one for each place.
  """
  # Even, or else half of all orders, the odd permutations, would never come.
  rows = 2 * math.ceil(math.sqrt(count) / 2)
  columns = -(-count // rows)
  keys = jax.random.bits(key, (_ROUNDS,), jnp.uint32)

  def two_rounds(i, cell):
    row, column = cell
    row = (row + _mix(column ^ keys[2 * i]) % rows) % rows
    return row, (column + _mix(row ^ keys[2 * i + 1]) % columns) % columns

  def permute(walk):
    cell = divmod(walk[0], columns)
    row, column = lax.fori_loop(0, _ROUNDS // 2, two_rounds, cell)
    place = row * columns + column
    return place, place >= count

  # From a place that is one of theirs the walk must come back to one.
  place, _ = lax.while_loop(lambda walk: walk[1], permute, (place, True))
  return place


def _mix(x: jax.Array) -> jax.Array:
  """Scrambles 32 bits: the last steps of MurmurHash3."""
  x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
  return x ^ (x >> 16)


def locate(
  step: jax.Array, index: jax.Array, batch_size: int, count: int
) -> tuple[jax.Array, jax.Array]:
  """Where a sample stands in a run's endless sequence: divmod by `count`.

  Exact for all steps, where step · batch_size would leave 32 bits.

  Args:
    step: int32 or uint32 scalar.
    index: int32 or uint32, of the sample in its batch.
    batch_size: samples a step.
    count: samples an epoch, less than 2³¹.

  Returns:
    Epoch modulo 2³², and place in it, both uint32 of the shape of `index`.
  """
  step, index = (jnp.asarray(x).astype(jnp.uint32) for x in (step, index))
  count = jnp.uint32(count)
  # step · batch_size by doubling: binary digits of batch_size, highest first.
  epoch = place = jnp.uint32(0)
  whole, rest = step // count, step % count
  for digit in f"{batch_size:b}":
    epoch, place = _carry(2 * epoch, 2 * place, count)
    if digit == "1":
      epoch, place = _carry(epoch + whole, place + rest, count)
  return _carry(epoch + index // count, place + index % count, count)


def _carry(epoch, place, count):
  """A place below twice `count` as one below it, of the next epoch."""
  over = place >= count
  return epoch + over.astype(jnp.uint32), place - over * count
