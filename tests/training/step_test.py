import functools
import math

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bamjax.training.step import train_step
from bamjax.training.step import update_average
from training import tiny


def test_loss_is_l1_of_images_in_unit_range():
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
  mapped = jax.jit(jax.vmap(step, in_axes=(None, 0), axis_name="batch"))(
    state, jax.tree.map(jnp.asarray, parts)
  )
  np.testing.assert_allclose(mapped.loss_sum[0], whole.loss_sum, rtol=1e-6)


def test_accumulated_parts_make_the_step_of_the_whole_batch():
  state = tiny.state()
  batch = next(tiny.batches(1, size=8))
  whole = jax.jit(train_step)(state, batch)
  step = functools.partial(train_step, accumulate=4)
  parts = jax.jit(step)(state, batch)
  np.testing.assert_allclose(parts.loss_sum, whole.loss_sum, rtol=1e-6)
  # The gradients themselves, by Adam's first moment.
  moments = [s.opt_state[0].mu for s in (parts, whole)]
  for a, b in zip(*map(tiny.leaves, moments), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-8)


def test_the_average_follows_the_weights():
  step = jax.jit(functools.partial(train_step, ema_decay=0.15))
  state = tiny.state(ema=True)
  expected = tiny.leaves(state.params)
  # The decay is (t − 1) / (t + 8) until it would exceed 0.15.
  for batch, decay in zip(
    tiny.batches(4), (0, 1 / 10, 0.15, 0.15), strict=True
  ):
    state = step(state, batch)
    params = tiny.leaves(state.params)
    expected = [
      decay * e + (1 - decay) * p for e, p in zip(expected, params, strict=True)
    ]
  for a, b in zip(tiny.leaves(state.ema), expected, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
  assert state.averaged() is state.ema
  plain = tiny.state()
  assert plain.averaged() is plain.params


@pytest.mark.parametrize("decay", [0.5, 0.999, 0.9999])
def test_the_average_of_constant_weights_is_those_weights(decay):
  rng = np.random.default_rng(0)
  start, constant = rng.normal(size=(2, 1000)).astype(np.float32)

  def update(average, step):
    average = update_average(average, constant, step, decay)
    return average, jnp.abs(average - constant).max()

  steps = jnp.arange(1, 20_001, dtype=jnp.int32)
  _, errors = jax.jit(lambda: lax.scan(update, start, steps))()
  assert errors.max() < 5e-7  # a rounding of float32, after any number


def test_the_average_weighs_the_last_steps():
  # The average of the step's number: Σ t·w(t), where the weights of
  # polynomial-decay averaging are w(t) ∝ (t + 7)! / (t − 1)!.
  count = 300
  average = jnp.zeros(())
  for t in range(1, count + 1):
    average = update_average(average, jnp.float32(t), t, 0.999)
  weights = [math.perm(t + 7, 8) for t in range(1, count + 1)]
  expected = np.average(np.arange(1, count + 1), weights=weights)
  assert float(average) == pytest.approx(expected, rel=1e-5)


def test_clipping_bounds_the_gradients_norm():
  batch = next(tiny.batches(1))
  states = [tiny.state(clip_norm=norm) for norm in (0.0, 1e-3, 1e6)]
  free, clipped, loose = (jax.jit(train_step)(s, batch) for s in states)

  def norm(opt_state):
    # After one step Adam's first moment is 0.1·gradient.
    first = tiny.leaves(optax.tree_utils.tree_get(opt_state, "mu"))
    return 10 * np.sqrt(sum(np.sum(x**2) for x in first))

  np.testing.assert_allclose(norm(clipped.opt_state), 1e-3, rtol=1e-4)
  assert norm(free.opt_state) > 1e-2
  np.testing.assert_allclose(
    norm(loose.opt_state), norm(free.opt_state), rtol=1e-6
  )


def test_the_first_step_whose_loss_is_not_finite_is_known():
  step = jax.jit(train_step)
  state = tiny.state()
  for i, batch in enumerate(tiny.batches(5), 1):
    if i == 3:
      bad = jax.tree.map(lambda x: x * np.nan, state.params)
      state = state.replace(params=bad)
    state = step(state, batch)
    assert state.finite_steps == min(i, 2)


def test_bfloat16_computes_with_float32_weights():
  batch = next(tiny.batches(1))
  full = jax.jit(train_step)(tiny.state(), batch)
  half = jax.jit(train_step)(tiny.state(dtype=jnp.bfloat16), batch)
  assert {x.dtype for x in tiny.leaves(half.params)} == {np.dtype(np.float32)}
  assert half.loss_sum != full.loss_sum
  np.testing.assert_allclose(half.loss_sum, full.loss_sum, rtol=1e-2)
