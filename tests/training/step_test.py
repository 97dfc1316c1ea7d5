import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bamjax.training.step import train_step
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
  step = jax.jit(functools.partial(train_step, ema_decay=0.75))
  state = tiny.state(ema=True)
  expected = tiny.leaves(state.params)
  for batch in tiny.batches(3):
    state = step(state, batch)
    params = tiny.leaves(state.params)
    expected = [
      0.75 * e + 0.25 * p for e, p in zip(expected, params, strict=True)
    ]
  for a, b in zip(tiny.leaves(state.ema), expected, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
  assert state.averaged() is state.ema
  plain = tiny.state()
  assert plain.averaged() is plain.params


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
