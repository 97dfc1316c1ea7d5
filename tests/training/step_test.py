import functools

import jax
import jax.numpy as jnp
import numpy as np
from training import tiny

from bamjax.training.step import train_step


def test_loss_is_l1_of_pictures_in_unit_range():
  state = tiny.state()
  batch = next(tiny.batches(1))
  sr = state.apply_fn({"params": state.params}, batch["lr"] / np.float32(255))
  expected = np.abs(np.asarray(sr) - batch["hr"] / 255).mean()
  after = jax.jit(train_step)(state, batch)
  np.testing.assert_allclose(after.loss_sum, expected, rtol=1e-5)
  assert after.step == 1


def test_first_adam_step_moves_every_parameter_by_the_learning_rate():
  # After bias correction, Adam's first step is rate·sign(gradient).
  state = tiny.state(learning_rate=1e-3)
  batch = next(tiny.batches(1))
  after = jax.jit(train_step)(state, batch)
  moved = np.concatenate(
    [
      np.abs(a - b).ravel()
      for a, b in zip(
        tiny.leaves(after.params), tiny.leaves(state.params), strict=True
      )
    ]
  )
  np.testing.assert_allclose(np.median(moved), 1e-3, rtol=1e-2)
  assert moved.max() < 1.01e-3


def test_training_lowers_the_loss():
  step = jax.jit(train_step)
  state, losses = tiny.state(), []
  batch = next(tiny.batches(1))
  for _ in range(30):
    before = float(state.loss_sum)
    state = step(state, batch)
    losses.append(float(state.loss_sum) - before)
  assert losses[-1] < 0.9 * losses[0]


def test_averaging_over_an_axis_equals_the_whole_batch():
  state = tiny.state()
  batch = next(tiny.batches(1, size=8))
  whole = jax.jit(train_step)(state, batch)
  parts = jax.tree.map(lambda x: x.reshape(4, 2, *x.shape[1:]), batch)
  step = functools.partial(train_step, axis_name="batch")
  mapped = jax.vmap(step, in_axes=(None, 0), axis_name="batch")(
    state, jax.tree.map(jnp.asarray, parts)
  )
  np.testing.assert_allclose(mapped.loss_sum[0], whole.loss_sum, rtol=1e-6)
