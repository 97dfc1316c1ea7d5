import jax
import numpy as np

from bamjax.data.degradation.mixtures import Bicubic
from bamjax.data.degradation.mixtures import Noise
from bamjax.training.degraded import on_degraded
from training import tiny


def record(state, batch, axis_name=None):
  """A step that keeps its LR instead of training."""
  return state.replace(loss_sum=batch["lr"])


def test_bicubic_is_the_step_itself():
  assert on_degraded(record, Bicubic(), 0, 8) is record


def test_every_step_and_sample_has_noise_of_its_own():
  run = jax.jit(on_degraded(record, Noise(sigma=(20, 20)), 3, 8))
  gray = np.full((8, 16, 16, 3), 128, np.uint8)
  batch, state = (
    {"lr": gray, "hr": gray.repeat(2, 1).repeat(2, 2)},
    tiny.state(),
  )
  drawn = [
    np.asarray(run(state.replace(step=np.int32(step)), batch).loss_sum)
    for step in (0, 1, 0)
  ]
  np.testing.assert_array_equal(drawn[0], drawn[2])
  both = np.concatenate(drawn[:2])
  assert len({image.tobytes() for image in both}) == 16
  assert abs((both.astype(int) - 128).std() - 20) < 1
