"""A small state and batches for the tests of training."""

import jax
import numpy as np
import optax

import bamjax
from bamjax.training.state import create_state

PATCH, SCALE = 8, 2


def module(attn="bam"):
  return bamjax.create_model(
    "pan", attn, SCALE, blocks=1, features=8, up_features=8
  )


def state(seed=0, learning_rate=1e-3):
  return create_state(
    module(), optax.constant_schedule(learning_rate), seed, PATCH
  )


def batches(count, size=8, seed=0):
  rng = np.random.default_rng(seed)
  for _ in range(count):
    lr = rng.integers(0, 256, (size, PATCH, PATCH, 3), dtype=np.uint8)
    yield {"lr": lr, "hr": np.kron(lr, np.ones((1, 2, 2, 1), np.uint8))}


def leaves(tree):
  return [np.asarray(x) for x in jax.tree.leaves(tree)]
