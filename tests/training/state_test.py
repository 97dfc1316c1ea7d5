import jax
import numpy as np
import pytest

from bamjax.training.step import train_step
from training import tiny


@pytest.mark.parametrize("ema", [False, True])
def test_a_state_is_rebuilt_from_its_tree(ema):
  fresh = tiny.state(seed=1, ema=ema)
  step = jax.jit(lambda s, b: train_step(s, b, ema_decay=0.5 * ema))
  state = tiny.state(ema=ema)
  for batch in tiny.batches(2):
    state = step(state, batch)
  rebuilt = fresh.from_tree(state.to_tree())
  assert jax.tree.structure(rebuilt) == jax.tree.structure(fresh)
  for a, b in zip(tiny.leaves(rebuilt), tiny.leaves(state), strict=True):
    np.testing.assert_array_equal(a, b)
  assert ("ema" in state.to_tree()) == ema
