import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bamjax.errors import UserError
from bamjax.runs.recipe import Optim
from bamjax.training.schedule import make_schedule


@pytest.mark.parametrize(
  ("step", "rate"),
  [
    (0, 1e-4),
    (49_999, 1e-4),
    (50_000, 5e-5),
    (99_999, 5e-5),
    (100_000, 2.5e-5),
    (249_999, 6.25e-6),
  ],
)
def test_the_papers_rate_halves_every_50000_steps(step, rate):
  schedule = make_schedule(Optim(), 250_000)
  assert float(schedule(step)) == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize("every", [1, 1700, 49_000])
def test_a_compiled_program_decays_at_the_step_that_is_logged(every):
  schedule = make_schedule(Optim(decay_every=every), 250_000)
  compiled = jax.jit(schedule)
  for step in (0, every - 1, every, 2 * every - 1, 2 * every, 3 * every):
    rate = 1e-4 * 0.5 ** (step // every)
    assert float(compiled(step)) == pytest.approx(rate, rel=1e-6)
    assert float(schedule(step)) == float(compiled(step))  # the logged one


def test_every_length_of_a_stair_is_counted_exactly():
  every = np.arange(100, 140_000, 100)
  assert len(every) == 1399
  times = np.arange(1, 11)[:, None]
  schedule = make_schedule(Optim(decay_every=every), 250_000)
  compiled = jax.jit(schedule)
  for step, decays in ((times * every - 1, times - 1), (times * every, times)):
    rates = compiled(jnp.asarray(step, jnp.int32))
    np.testing.assert_allclose(
      rates, 1e-4 * 0.5 ** np.broadcast_to(decays, step.shape), rtol=1e-6
    )
    np.testing.assert_array_equal(rates, schedule(step))


def test_cosine_falls_to_zero():
  schedule = make_schedule(Optim(schedule="cosine"), 100)
  assert float(schedule(0)) == pytest.approx(1e-4)
  assert float(schedule(50)) == pytest.approx(5e-5)
  assert float(schedule(100)) == pytest.approx(0, abs=1e-12)


def test_warmup_is_linear_and_moves_no_boundary():
  schedule = make_schedule(Optim(warmup_steps=10), 250_000)
  assert float(schedule(0)) == 0
  assert float(schedule(5)) == pytest.approx(5e-5)
  assert float(schedule(50_000)) == pytest.approx(5e-5)


def test_unknown_schedule_is_the_users_mistake():
  with pytest.raises(UserError, match="unknown schedule 'linear'"):
    make_schedule(Optim(schedule="linear"), 10)
