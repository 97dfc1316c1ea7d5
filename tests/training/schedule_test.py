import ml_collections
import pytest

from bamjax.errors import UserError
from bamjax.training.schedule import make_schedule


def optim(**fields):
  base = {
    "learning_rate": 1e-4,
    "schedule": "step",
    "decay_every": 50_000,
    "decay_factor": 0.5,
    "warmup_steps": 0,
  }
  return ml_collections.ConfigDict({**base, **fields})


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
  schedule = make_schedule(optim(), 250_000)
  assert float(schedule(step)) == pytest.approx(rate, rel=1e-6)


def test_cosine_falls_to_zero():
  schedule = make_schedule(optim(schedule="cosine"), 100)
  assert float(schedule(0)) == pytest.approx(1e-4)
  assert float(schedule(50)) == pytest.approx(5e-5)
  assert float(schedule(100)) == pytest.approx(0, abs=1e-12)


def test_warmup_is_linear_and_moves_no_boundary():
  schedule = make_schedule(optim(warmup_steps=10), 250_000)
  assert float(schedule(0)) == 0
  assert float(schedule(5)) == pytest.approx(5e-5)
  assert float(schedule(50_000)) == pytest.approx(5e-5)


def test_unknown_schedule_is_the_users_mistake():
  with pytest.raises(UserError, match="unknown schedule 'linear'"):
    make_schedule(optim(schedule="linear"), 10)
