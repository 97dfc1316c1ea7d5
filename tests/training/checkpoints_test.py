import contextlib

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from bamjax.errors import UserError
from bamjax.training.checkpoints import Checkpoints
from bamjax.training.step import train_step
from training import tiny


@pytest.fixture(scope="module")
def states():
  """States after 0, 1, … 5 steps."""
  step, found = jax.jit(train_step), [tiny.state()]
  for batch in tiny.batches(5):
    found.append(step(found[-1], batch))
  return found


def same(a, b):
  return all(
    np.array_equal(x, y)
    for x, y in zip(tiny.leaves(a), tiny.leaves(b), strict=True)
  )


def save(path, states, scores):
  with contextlib.closing(Checkpoints(path)) as checkpoints:
    for step, score in scores.items():
      metrics = None if score is None else {"psnr_y": score}
      checkpoints.save(step, states[step], metrics)
      checkpoints.wait()


def test_restores_every_bit(tmp_path, states):
  save(tmp_path, states, {3: None})
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    restored, step = checkpoints.restore(tiny.state(seed=1))
  assert step == 3
  assert same(restored, states[3])
  assert not same(tiny.state(seed=1), states[3])


def test_an_empty_folder_restores_nothing(tmp_path):
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    state = tiny.state()
    assert checkpoints.restore(state) == (state, 0)
    assert checkpoints.best() is None


def test_keeps_the_last_two_and_the_best(tmp_path, states):
  save(tmp_path, states, {1: 30.0, 2: 31.5, 3: 31.0, 4: None, 5: 30.5})
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    assert checkpoints.steps() == [2, 4, 5]
    assert checkpoints.best() == 2
    assert checkpoints.latest() == 5


@pytest.mark.parametrize("damage", ["truncate", "garbage", "empty"])
def test_a_broken_newest_checkpoint_falls_back(
  tmp_path, states, damage, caplog
):
  save(tmp_path, states, {3: None, 4: None})
  folder = tmp_path / "checkpoints" / "4"
  for file in [f for f in folder.rglob("*") if f.is_file()]:
    data = file.read_bytes()
    if damage == "truncate":
      file.write_bytes(data[: len(data) // 2])
    elif damage == "garbage":
      file.write_bytes(b"\x00garbage" * 8)
    else:
      file.unlink()
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    restored, step = checkpoints.restore(tiny.state(seed=1))
    assert step == 3
    assert same(restored, states[3])
    # The same step can be saved anew.
    checkpoints.save(4, states[4])
    checkpoints.wait()
    assert same(checkpoints.restore(tiny.state(seed=1))[0], states[4])
  assert "checkpoint 4 cannot be read" in caplog.text


def test_all_broken_is_an_error_that_loses_nothing(tmp_path, states):
  save(tmp_path, states, {4: None})
  for file in (tmp_path / "checkpoints" / "4").rglob("*"):
    if file.is_file():
      file.write_bytes(b"garbage")
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    with pytest.raises(UserError, match="no checkpoint .* can be read"):
      checkpoints.restore(tiny.state())
  assert (tmp_path / "broken" / "4").exists()


@pytest.mark.parametrize("call", ["save", "wait_until_finished", "close"])
def test_a_full_disk_is_told_in_one_line(tmp_path, states, monkeypatch, call):
  save(tmp_path, states, {3: None})

  def full(*args, **kwargs):
    # As TensorStore has it.
    raise ValueError(
      'RESOURCE_EXHAUSTED: Error writing "params.a/0" in OCDBT database: Failed'
      ' writing: "/run/d/a7": Failed to write 156211 bytes to file 8: No space'
      " left on device [os_error_code='28']\n [source locations='a.cc']"
    )

  checkpoints = Checkpoints(tmp_path)
  with monkeypatch.context() as patch:
    patch.setattr(ocp.CheckpointManager, call, full)
    with pytest.raises(UserError) as caught:
      checkpoints.save(4, states[4])
      checkpoints.wait()
      checkpoints.close()
  checkpoints.close()
  message = str(caught.value)
  assert "checkpoints: No space left on device; that of step" in message
  assert "\n" not in message
