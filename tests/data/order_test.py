"""An epoch's order, and where a sample stands in a run."""

import collections
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bamjax.data import order


def orders(count, epochs):
  """As many random orders, a row each."""
  keys = jax.random.split(jax.random.key(0, impl="threefry2x32"), epochs)
  places = jnp.arange(count, dtype=jnp.uint32)

  @jax.jit
  def draw(keys):
    by_place = jax.vmap(order.element, (None, 0, None))
    return jax.vmap(by_place, (0, None, None))(keys, places, count)

  return np.asarray(draw(keys)).astype(np.int64)


# Squares, one more than squares, primes.
@pytest.mark.parametrize("count", [1, 2, 9, 17, 1024, 10007])
def test_each_element_comes_once(count):
  drawn = orders(count, 4)
  assert (np.sort(drawn, axis=1) == np.arange(count)).all()
  if count > 2:
    assert (drawn[0] != drawn[1]).any()


def deviation(counts, expected):
  """Pearson's χ² less its mean, in its standard deviations."""
  counts = np.asarray(counts)
  freedom = counts.size - 1
  squares = ((counts - expected) ** 2 / expected).sum()
  return (squares - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("count", [3, 4, 5])
def test_all_orders_come_equally_often(count):
  epochs = 20_000
  found = collections.Counter(map(tuple, orders(count, epochs)))
  assert len(found) == math.factorial(count)
  assert deviation(list(found.values()), epochs / len(found)) < 4


def test_places_and_neighbours_are_uniform():
  count, epochs = 60, 6_000
  drawn = orders(count, epochs)
  at = [np.bincount(column, minlength=count) for column in drawn.T]
  assert deviation(at, epochs / count) < 4
  apart = np.bincount((np.diff(drawn, axis=1) % count).ravel())[1:]
  assert deviation(apart, apart.mean()) < 4
  # Half of all orders are odd permutations.
  signs = [round(np.linalg.det(np.eye(9)[row])) for row in orders(9, 2_000)]
  assert abs(np.mean(signs)) < 0.09


def test_millions_take_no_longer_than_thousands():
  key = jax.random.key(0)

  def operations(count):
    text = jax.jit(lambda p: order.element(key, p, count)).lower(jnp.uint32(0))
    return len(text.as_text().splitlines()), text.cost_analysis()["flops"]

  assert operations(4_000) == operations(2**31 - 1)


def test_sequences_outgrow_32_bits():
  rng = np.random.default_rng(0)
  locate = jax.jit(order.locate, static_argnums=(2, 3))
  for count in (1, 4_000, 10**7, 2**31 - 1):
    for batch_size in (1, 16, 1_023):
      for _ in range(5):
        step, index = (int(rng.integers(n)) for n in (2**31, batch_size))
        epoch, place = locate(step, index, batch_size, count)
        want = divmod(step * batch_size + index, count)
        assert (int(epoch), int(place)) == (want[0] % 2**32, want[1])
