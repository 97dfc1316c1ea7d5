import contextlib
import errno
import gc
import os
import shutil

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tensorstore

from bamjax.errors import UserError
from bamjax.runs import checkpoints as checkpoints_lib
from bamjax.runs.checkpoints import check_path
from bamjax.runs.checkpoints import Checkpoints
from bamjax.runs.checkpoints import DamagedError
from bamjax.training.step import train_step
from training import tiny

# What else was being read of a damaged checkpoint fails too, unseen.
pytestmark = pytest.mark.filterwarnings(
  "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def _no_leftovers():
  """Ends such reads here, not in whatever test runs later."""
  yield
  gc.collect()


@pytest.fixture(scope="module")
def states():
  """States after 0, 1, … 5 steps."""
  step, state = jax.jit(train_step), tiny.state()
  trees = [state.to_tree()]
  for batch in tiny.batches(5):
    state = step(state, batch)
    trees.append(state.to_tree())
  return trees


def fresh(seed=1, **options):
  return tiny.state(seed, **options).to_tree()


def params(tree=None):
  return {"params": (tree or fresh())["params"]}


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
    restored, step = checkpoints.restore(fresh())
  assert step == 3
  assert same(restored, states[3])
  assert not same(fresh(), states[3])


def test_an_empty_folder_restores_nothing(tmp_path):
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    tree = fresh()
    assert checkpoints.restore(tree) == (tree, 0)
    assert checkpoints.best() is None


def test_keeps_the_last_two_and_the_best(tmp_path, states):
  save(tmp_path, states, {1: 30.0, 2: 31.5, 3: 31.0, 4: None, 5: 30.5})
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    assert checkpoints.steps() == [2, 4, 5]
    assert checkpoints.best() == 2
    assert checkpoints.latest() == 5


def test_all_of_a_checkpoint_is_on_the_disk_before_the_next(
  tmp_path, monkeypatch
):
  synced, sizes, fsync = {}, {}, os.fsync

  def record(descriptor):
    status = os.fstat(descriptor)
    sizes[status.st_ino] = status.st_size
    fsync(descriptor)

  monkeypatch.setattr(os, "fsync", record)
  tree = {"params": {"a": np.ones(3)}}
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    for step in (1, 2):
      checkpoints.save(step, tree, {"psnr_y": 30.0})
      synced = dict(sizes)
  folder = tmp_path / "checkpoints"
  # When the second is begun, all files of the first are there as they stay.
  for done, step in ((synced, 1), (sizes, 2)):
    files = [p for p in (folder / str(step)).rglob("*") if p.is_file()]
    assert len(files) > 5
    for path in files:
      assert done[path.stat().st_ino] == path.stat().st_size, path
    assert {folder.stat().st_ino, files[0].parent.stat().st_ino} <= set(done)


def damage(folder, how, only=""):
  """Does something to a checkpoint's files, of such a name."""
  for file in [f for f in folder.rglob("*") if f.is_file()]:
    data = file.read_bytes()
    if only not in str(file.relative_to(folder)):
      continue
    if how == "truncate":
      file.write_bytes(data[: len(data) // 2])
    elif how == "garbage":
      file.write_bytes(b"\x00garbage" * 8)
    elif how == "zero":
      file.write_bytes(bytes(len(data)))
    else:
      file.unlink()


DAMAGES = [
  ("truncate", ""),
  ("garbage", ""),
  ("remove", ""),
  ("zero", "_METADATA"),
  ("zero", "manifest.ocdbt"),
  ("zero", "/d/"),
  ("remove", "_METADATA"),
  ("remove", "manifest.ocdbt"),
  ("remove", "/d/"),
]


@pytest.mark.parametrize(("how", "only"), DAMAGES)
def test_a_broken_newest_checkpoint_falls_back(
  tmp_path, states, how, only, caplog
):
  save(tmp_path, states, {3: None, 4: None})
  damage(tmp_path / "checkpoints" / "4", how, only)
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    restored, step = checkpoints.restore(fresh())
    assert step == 3
    assert same(restored, states[3])
    # The same step can be saved anew.
    checkpoints.save(4, states[4])
    checkpoints.wait()
    assert same(checkpoints.restore(fresh())[0], states[4])
  # What asyncio says of futures may be of a test before.
  told = [
    r.getMessage() for r in caplog.records if r.name.startswith("bamjax.runs")
  ]
  assert "checkpoint 4 in" in told[0] and "is damaged" in told[0]
  assert "TensorStore" not in told[0] and "[tensorstore_spec" not in told[0]
  assert (tmp_path / "broken" / "4").exists()


def test_all_broken_is_an_error_that_moves_nothing(tmp_path, states):
  save(tmp_path, states, {3: None, 4: None})
  for step in ("3", "4"):
    damage(tmp_path / "checkpoints" / step, "zero")
  for _ in range(2):
    with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
      with pytest.raises(UserError, match="no checkpoint .* can be read"):
        checkpoints.restore(fresh())
      assert checkpoints.steps() == [3, 4]
  assert not (tmp_path / "broken").exists()


class Manager:
  """Orbax's, of which every restore fails."""

  def __init__(self, manager, error):
    self._manager, self._error = manager, error

  def __getattr__(self, name):
    return getattr(self._manager, name)

  def restore(self, *args, **kwargs):
    raise self._error


@pytest.mark.parametrize(
  ("error", "words"),
  [
    (MemoryError(), "MemoryError"),
    (OSError(errno.ESTALE, "Stale file handle"), "Stale file handle"),
    (
      ValueError(
        'PERMISSION_DENIED: Error reading "a/0": file "/r/d/1" Byte range [0,'
        " 9): Permission denied [os_error_code='13'] [source locations='a.cc']"
      ),
      "restored: PERMISSION_DENIED: Permission denied. Nothing was changed",
    ),
    (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "Out of memory"),
    (KeyError("opt_state"), "opt_state"),
  ],
)
def test_what_is_not_the_checkpoints_fault_leaves_them(
  tmp_path, states, monkeypatch, error, words
):
  save(tmp_path, states, {3: None, 4: None})
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    manager = Manager(checkpoints._manager, error)
    monkeypatch.setattr(checkpoints, "_manager", manager)
    for call in (checkpoints.restore, checkpoints.restore_best):
      with pytest.raises(UserError, match=f"checkpoint 4 .*{words}") as caught:
        call(fresh())
      assert not isinstance(caught.value, DamagedError)
    monkeypatch.undo()
    assert checkpoints.restore(fresh())[1] == 4
  assert not (tmp_path / "broken").exists()


@pytest.mark.parametrize("change", [{"ema": True}, {"clip_norm": 0.1}])
def test_another_optimizer_leaves_the_checkpoints(tmp_path, states, change):
  save(tmp_path, states, {4: None})
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    with pytest.raises(UserError, match="network or optimizer is not that"):
      checkpoints.restore(fresh(**change))
    assert checkpoints.restore(fresh())[1] == 4


def test_the_best_that_can_be_read_and_nothing_moves(tmp_path, states, caplog):
  save(tmp_path, states, {1: 30.0, 2: 31.5, 3: 31.0, 4: None, 5: 30.5})
  damage(tmp_path / "checkpoints" / "2", "zero", "/d/")
  before = sorted(tmp_path.rglob("*"))
  opened = Checkpoints(tmp_path, read_only=True)
  with contextlib.closing(opened) as checkpoints:
    assert checkpoints.best() == 2
    restored, step = checkpoints.restore_best(params())
    with pytest.raises(DamagedError, match="checkpoint 2"):
      checkpoints.restore_step(params(), 2)
  assert step == 5
  assert same(restored, params(states[5]))
  assert "checkpoint 2 in" in caplog.text
  assert "using the checkpoint of step 5 instead" in caplog.text
  assert sorted(tmp_path.rglob("*")) == before


def damage_scores(path, kind):
  """Damages a checkpoint's scores."""
  if kind == "no folder":
    shutil.rmtree(path / "metrics")
  elif kind == "no file":
    (path / "metrics" / "metrics").unlink()
  else:
    assert (path / "metrics" / "metrics").is_file()
    (path / "metrics" / "metrics").write_text(kind)


@pytest.mark.parametrize(
  "kind",
  [
    *("", '{"psnr', "no JSON", "[]", "{}", "null", '{"psnr_y": null}'),
    *('{"psnr_y": NaN}', '{"psnr_y": "40"x}', "no file", "no folder"),
  ],
)
def test_damaged_scores_do_not_cost_the_checkpoint(
  tmp_path, states, caplog, kind
):
  save(tmp_path, states, {1: 30.0, 2: 31.5, 3: 31.0})
  damage_scores(tmp_path / "checkpoints" / "2", kind)
  before = sorted(tmp_path.rglob("*"))
  opened = Checkpoints(tmp_path, read_only=True)
  with contextlib.closing(opened) as checkpoints:
    assert checkpoints.best() == 3
    assert same(checkpoints.restore_step(params(), 2), params(states[2]))
  assert sorted(tmp_path.rglob("*")) == before
  # A training goes on, and keeps the best by the scores that there are. The one
  # whose score is unknown may be better, and stays.
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    tree, step = checkpoints.restore(fresh())
    assert step == 3 and same(tree, states[3])
    checkpoints.save(4, states[4], {"psnr_y": 30.5})
    checkpoints.save(5, states[5], {"psnr_y": 30.6})
    checkpoints.wait()
    assert checkpoints.steps() == [2, 3, 4, 5]
    assert same(checkpoints.restore_step(fresh(), 2), states[2])
  assert "the scores of checkpoint 2 in " in caplog.text


def test_several_damaged_scores_cost_no_checkpoint(tmp_path, states):
  def save(start, keep_last, *scores):
    opened = Checkpoints(tmp_path, keep_last)
    with contextlib.closing(opened) as checkpoints:
      for step, score in enumerate(scores, start):
        metrics = None if score is None else {"psnr_y": score}
        checkpoints.save(step, states[step], metrics)
      checkpoints.wait()
      return checkpoints.steps()

  assert save(1, 3, 40.0, 39.0, None) == [1, 2, 3]
  for step in (1, 2):
    damage_scores(tmp_path / "checkpoints" / str(step), "")
  # The third was not validated, and goes as usual.
  assert save(4, 1, 30.0, 29.0) == [1, 2, 4, 5]


def test_read_only_reads_nothing_but_what_is_asked_for(tmp_path):
  rng = np.random.default_rng(0)
  tree = {
    name: {"kernel": jax.device_put(rng.random(100_000, np.float32))}
    for name in ("params", "first_moment", "second_moment")
  }
  save(tmp_path, {5: tree}, {5: None})
  opened = Checkpoints(tmp_path, read_only=True)
  with contextlib.closing(opened) as checkpoints:
    count, restored = bytes_read(lambda: checkpoints.restore_best(params(tree)))
  assert restored[1] == 5 and same(restored[0], params(tree))
  assert count < 600_000  # of 400,000 for each of the three


def bytes_read(call):
  def count():
    name = "/tensorstore/kvstore/file/bytes_read"
    (metric,) = tensorstore.experimental_collect_matching_metrics(name)
    return sum(cell["value"] for cell in metric["values"])

  before = count()
  result = call()
  return count() - before, result


@pytest.mark.parametrize("change", ["average", "more", "fewer", "shape"])
def test_read_only_refuses_another_network(tmp_path, states, change):
  save(tmp_path, states, {5: None})
  like = dict(params()["params"])
  if change == "more":
    like["other"] = like["head"]
  elif change == "fewer":
    del like["head"]
  elif change == "shape":
    like["head"] = jax.tree.map(lambda x: x[..., :-1], like["head"])
  tree = {"ema" if change == "average" else "params": like}
  opened = Checkpoints(tmp_path, read_only=True)
  with contextlib.closing(opened) as checkpoints:
    with pytest.raises(UserError, match="network or optimizer is not that"):
      checkpoints.restore_best(tree)


def test_a_checkpoint_removed_by_a_training_is_passed_over(
  tmp_path, states, caplog
):
  save(tmp_path, states, {3: 30.0, 4: 31.0})
  opened = Checkpoints(tmp_path, read_only=True)
  with contextlib.closing(opened) as checkpoints:
    assert checkpoints.best() == 4
    shutil.rmtree(tmp_path / "checkpoints" / "4")
    assert checkpoints.restore_best(params())[1] == 3
  assert "damaged" not in caplog.text


def test_a_checkpoint_removed_while_they_are_listed_is_passed_over(
  tmp_path, states, monkeypatch
):
  save(tmp_path, states, {3: 30.0, 4: 31.0})
  stat, lost = os.stat, [tmp_path / "checkpoints" / "4"]

  def vanish(path, *args, **options):
    if lost and os.fspath(path) == str(lost[0]):
      shutil.rmtree(lost.pop())
    return stat(path, *args, **options)

  monkeypatch.setattr(os, "stat", vanish)
  opened = Checkpoints(tmp_path, read_only=True)
  with contextlib.closing(opened) as checkpoints:
    assert checkpoints.steps() == [3] and not lost


@pytest.mark.parametrize("error", [FileNotFoundError, NotADirectoryError])
def test_a_listing_that_a_removal_breaks_is_made_again(
  tmp_path, states, monkeypatch, error
):
  save(tmp_path, states, {3: 30.0})
  manager, errors = checkpoints_lib._Manager, [error("checkpoints/4")]

  def broken_once(*args, **options):
    if errors:
      raise errors.pop()
    return manager(*args, **options)

  monkeypatch.setattr(checkpoints_lib, "_Manager", broken_once)
  opened = Checkpoints(tmp_path, read_only=True)
  with contextlib.closing(opened) as checkpoints:
    assert checkpoints.steps() == [3] and not errors


@pytest.mark.parametrize("name", ["a[1]", "a*", "a?", "a\\b", "caf\udce9"])
def test_a_path_that_is_a_pattern_is_refused(tmp_path, name):
  check_path(tmp_path / "a b{c}]ü%20")
  with pytest.raises(UserError, match="name.*; use another --run_dir"):
    check_path(tmp_path / name / "run")


def test_a_file_in_the_place_of_the_checkpoints_is_refused(tmp_path):
  (tmp_path / "checkpoints").touch()
  with pytest.raises(UserError, match="checkpoints is not a folder; move"):
    check_path(tmp_path)


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
  assert "checkpoints: No space left on device; the last one" in message
  assert "\n" not in message
