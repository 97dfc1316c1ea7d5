import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bamjax.errors import UserError
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import changed
from bamjax.runs.recipe import Data
from bamjax.runs.recipe import Recipe
from bamjax.training import distillation
from bamjax.training import feed
from bamjax.training.distillation import on_taught
from bamjax.training.state import Teacher
from bamjax.training.step import train_step
from bamjax.weights import save_weights
from training import tiny

_STAGE = {"kernel_size": (3, 5), "resize": (0.5, 1.2)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  """A file of small ×2 weights with a licence."""
  path = tmp_path_factory.mktemp("teacher") / "small.safetensors"
  params = tiny.state(seed=1).params
  save_weights(path, tiny.module(), {"params": params}, {"licence": "MIT"})
  return path


def configuration(source, **teacher):
  return Recipe(teacher=recipe_lib.Teacher(source=str(source), **teacher))


def taught_state(seed=1):
  """A state of seed 0 with the teacher of another seed."""
  state = tiny.state()
  teacher = Teacher(tiny.state(seed=seed).params, state.apply_fn)
  return state.replace(teacher=teacher)


def keep(state, batch, axis_name=None, **options):
  """A step that keeps its batch instead of training."""
  del axis_name, options
  return state.replace(ema=batch)


def upscaled(params, lr):
  lr = np.float32(lr) / np.float32(255)
  return np.asarray(tiny.state().apply_fn({"params": params}, lr))


def first(size=8):
  return next(tiny.batches(1, size=size))


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_the_loss_is_shared_between_teacher_and_hr(weight):
  state, batch = taught_state(), first()
  sr = upscaled(state.params, batch["lr"])
  taught = upscaled(state.teacher.params, batch["lr"])
  to_hr = np.abs(sr - batch["hr"] / 255).mean()
  expected = weight * np.abs(sr - taught).mean() + (1 - weight) * to_hr
  assert abs(expected - to_hr) > 0.01
  after = jax.jit(on_taught(train_step, weight))(state, batch)
  np.testing.assert_allclose(after.loss_sum, expected, rtol=1e-5)
  assert after.teacher.params is not None
  assert "teacher" not in str(jax.tree.structure(after.to_tree()))


def test_a_network_that_is_its_teacher_has_no_loss():
  after = jax.jit(on_taught(train_step, 1.0))(taught_state(seed=0), first())
  assert after.loss_sum < 1e-6


def test_without_weight_a_step_is_that_without_a_teacher():
  plain = jax.jit(train_step)(tiny.state(), first())
  after = jax.jit(on_taught(train_step, 0.0))(taught_state(), first())
  for a, b in zip(
    tiny.leaves(after.to_tree()), tiny.leaves(plain.to_tree()), strict=True
  ):
    np.testing.assert_array_equal(a, b)


def test_lr_without_hr_learns_from_the_teacher_alone():
  state, batch = taught_state(), first(size=4)
  batch["lr_only"] = np.array([False, True, True, False])
  sr = upscaled(state.params, batch["lr"])
  taught = upscaled(state.teacher.params, batch["lr"])
  losses = np.abs(sr - batch["hr"] / 255)
  losses[1:3] = np.abs(sr - taught)[1:3]
  batch["hr"][1:3] = 7  # whatever it is
  # A weight of 0 is that of the other samples.
  after = jax.jit(on_taught(train_step, 0.0))(state, batch)
  np.testing.assert_allclose(after.loss_sum, losses.mean(), rtol=1e-5)


@pytest.mark.parametrize(
  ("degradation", "options"),
  [
    ("noise", {"sigma": (20, 20)}),
    pytest.param(
      "photo", {"first": _STAGE, "second": _STAGE}, marks=pytest.mark.slow
    ),
  ],
)
def test_the_teacher_sees_clean_lr_where_the_student_does_not(
  degradation, options, monkeypatch
):
  data = Data(patch=16, degradation=degradation, degradation_options=options)
  config = Recipe(scale=2, batch_size=4, data=data)
  monkeypatch.setattr(feed, "train_step", keep)
  state, batch = taught_state(), first(size=4)
  batch = {k: np.tile(v, (1, 2, 2, 1)) for k, v in batch.items()}
  batch["lr_only"] = np.array([False, True, False, True])
  found = jax.jit(feed.make_step(config))(state, batch).ema
  expected = upscaled(state.teacher.params, batch["lr"])
  np.testing.assert_allclose(found["taught"], expected, atol=1e-6)
  assert all((found["lr"] != batch["lr"]).any((1, 2, 3)))
  # Where there is no HR, the teacher's output is degraded in its place.
  levels = np.round(np.clip(expected, 0, 1) * 255)
  np.testing.assert_allclose(found["hr"][1], levels[1], atol=1)
  np.testing.assert_array_equal(found["hr"][0], batch["hr"][0])
  np.testing.assert_array_equal(found["taught_weight"], [0.5, 1, 0.5, 1])


def test_an_ensemble_averages_the_eight_symmetries():
  state, batch = taught_state(), first(size=2)
  total = 0
  for flip in (1, -1):
    for quarters in range(4):
      lr = np.rot90(batch["lr"][:, :, ::flip], quarters, (1, 2))
      sr = upscaled(state.teacher.params, lr)
      total = total + np.rot90(sr, -quarters, (1, 2))[:, :, ::flip]
  step = jax.jit(on_taught(keep, 1.0, ensemble=True, parts=2))
  found = step(state, batch).ema["taught"]
  np.testing.assert_allclose(found, total / 8, atol=1e-6)
  assert np.abs(found - upscaled(state.teacher.params, batch["lr"])).max() > 0.1


def test_parts_teach_what_the_whole_batch_does():
  batch = first()
  whole = jax.jit(on_taught(train_step, 0.5))(taught_state(), batch)
  step = functools.partial(train_step, accumulate=4)
  parts = jax.jit(on_taught(step, 0.5, parts=4))(taught_state(), batch)
  np.testing.assert_allclose(parts.loss_sum, whole.loss_sum, rtol=1e-6)


def test_a_teacher_is_known_by_its_file(weights, tmp_path):
  given = configuration(weights)
  config, teacher = distillation.find(given)
  assert given.teacher.sha256 == ""  # the caller's stays as it is
  assert len(config.teacher.sha256) == 64
  assert config.teacher.licence == "MIT"
  moved = tmp_path / "moved.safetensors"
  moved.write_bytes(weights.read_bytes())
  again, _ = distillation.find(configuration(moved))
  assert again.teacher.sha256 == config.teacher.sha256
  lr = jnp.ones((1, 8, 8, 3), jnp.float32)
  sr = teacher.apply_fn({"params": teacher.params}, lr)
  assert sr.dtype == jnp.float32
  with pytest.raises(UserError, match="its SHA-256 is [0-9a-f]{64}, not abc"):
    distillation.find(configuration(weights, sha256="abc"))


def test_a_run_teaches_too(finished_run):
  config, teacher = distillation.find(configuration(finished_run))
  assert len(config.teacher.sha256) == 64
  assert config.teacher.licence == ""
  assert teacher.params


def test_a_teacher_computes_in_the_dtype_of_the_training(weights):
  outputs = []
  for dtype in ("float32", "bfloat16"):
    config = configuration(weights)
    config = changed(config, {"dtype": dtype})
    _, teacher = distillation.find(config)
    lr = first()["lr"] / np.float32(255)
    outputs.append(teacher.apply_fn({"params": teacher.params}, lr))
  assert {x.dtype for x in outputs} == {jnp.dtype(jnp.float32)}
  assert 0 < jnp.abs(outputs[0] - outputs[1]).max() < 0.05


@pytest.mark.parametrize(
  ("source", "change", "message"),
  [
    ("smfanet-x4", {}, "teacher for ×2: .*scale 4, not 2"),
    ("absent.pth", {}, "teacher for ×2: absent.pth: no such file"),
    ("", {"teacher.weight": 1.0}, "--teacher_weight needs a teacher"),
    ("", {"teacher.ensemble": True}, "--teacher_ensemble needs a teacher"),
    ("", {"data.lr_only": 0.5}, "--lr_only needs a teacher: add --teacher="),
    ("smfanet-x2", {"teacher.weight": 1.5}, "teacher.weight must be from 0 to"),
    ("smfanet-x2", {"data.lr_only": -0.1}, "data.lr_only must be from 0 to 1"),
    ("smfanet-x2", {"data.lr_only": float("nan")}, "lr_only must be from 0 to"),
  ],
)
def test_mistakes_are_one_line(source, change, message):
  config = configuration(source)
  config = changed(config, change)
  with pytest.raises(UserError, match=message) as caught:
    distillation.find(config)
  assert "\n" not in str(caught.value)
