"""A small state and batches for tests of training."""

import functools

import jax
import numpy as np
import optax

import bamjax
from bamjax.data import cache
from bamjax.data.crops import CropStore
from bamjax.data.resident import pack
from bamjax.data.sources import ImagePair
from bamjax.training.state import create_state

PATCH, SCALE = 8, 2


@functools.cache
def module(dtype=None):
  return bamjax.create_model(
    "edsr", "none", SCALE, dtype=dtype, blocks=1, features=8
  )


@functools.cache
def state(seed=0, learning_rate=1e-3, dtype=None, **options):
  """Returns a cached state, so that a step is compiled only once."""
  schedule = optax.constant_schedule(learning_rate)
  return create_state(module(dtype), schedule, seed, PATCH, **options)


def batches(count, size=8, seed=0):
  rng = np.random.default_rng(seed)
  for _ in range(count):
    lr = rng.integers(0, 256, (size, PATCH, PATCH, 3), dtype=np.uint8)
    yield {"lr": lr, "hr": np.kron(lr, np.ones((1, 2, 2, 1), np.uint8))}


def resident(seed=0):
  """Returns two random images for training on the device."""
  rng = np.random.default_rng(seed)

  def image(name):
    lr = rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)
    hr = np.kron(lr, np.ones((2, 2, 1), np.uint8))
    return ImagePair(name, lambda: (lr, hr))

  decoded = cache.decode([image("a"), image("b")])
  store = CropStore(decoded, PATCH)
  store.add_smaller(cache.decode)
  return pack(store)


def leaves(tree):
  return [np.asarray(x) for x in jax.tree.leaves(tree)]
