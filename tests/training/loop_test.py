import dataclasses
import json
import os
from pathlib import Path
import shutil
import signal

import jax
import numpy as np
from PIL import Image
import pytest

import bamjax
from bamjax.errors import UserError
from bamjax.evaluation import scoring
from bamjax.runs import experiment
from bamjax.runs import folder
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import changed
from bamjax.training import distributed
from bamjax.training import feed
from bamjax.training import loop
from bamjax.training import run_dir as run_dir_lib
from bamjax.weights import save_weights
from scripts import rows
from training import tiny

pytestmark = pytest.mark.usefixtures("kept_programs")


@pytest.fixture
def config(finished_run):
  """The finished run's, with an attention that is quicker to compile."""
  config = recipe_lib.load(finished_run / "config.json")
  config = changed(config, {"attn": "acam"})
  return config


class _CutOff(Exception):
  pass


@pytest.fixture
def calls(monkeypatch):
  """Where training is called, and for how many steps; may cut it off."""

  class Calls(list):
    cut = None  # the step before which the run dies

  found = Calls()
  make_advance = feed.make_advance

  def make(config, store, start):
    advance, most = make_advance(config, store, start)
    step = start

    def recorded(state, count):
      nonlocal step
      if found.cut is not None and step >= found.cut:
        raise _CutOff
      found.append((step, count))
      step += count
      return advance(state, count)

    return recorded, most

  monkeypatch.setattr(feed, "make_advance", make)
  return found


@pytest.mark.parametrize(
  "mode", [pytest.param("tfdata", marks=pytest.mark.slow), "resident"]
)
def test_with_every_option_a_run_resumes_bit_for_bit(
  config, tmp_path, mode, calls
):
  teacher = tmp_path / "teacher.safetensors"
  params = tiny.state(seed=1).params
  save_weights(teacher, tiny.module(), {"params": params})
  config = changed(
    config,
    {
      "steps": 7,
      "log_every": 2,
      "checkpoint_every": 3,
      "data": {
        "mode": mode,
        "steps_per_dispatch": 2,
        "degradation": "noise",
        "degradation_options": {"sigma": (5, 50)},
        "lr_only": 0.5,
        "permute_rgb": True,
      },
      "teacher": {"source": str(teacher), "ensemble": True},
      "optim": {
        "ema_decay": 0.5,
        "clip_norm": 0.1,
        "accumulate": 2,
        "decay_every": 2,
      },
    },
  )
  summary = loop.train_and_evaluate(config, tmp_path / "whole")
  whole = list(calls)
  assert sum(count for _, count in whole) == 7
  # Before there is a checkpoint, and between one and the next log.
  for cut in (1, 4):
    calls.clear()
    calls.cut = cut
    with pytest.raises(_CutOff):
      loop.train_and_evaluate(config, tmp_path / "cut")
    assert calls == [call for call in whole if call[0] < cut]
  calls.cut = None
  calls.clear()
  again = loop.train_and_evaluate(config, tmp_path / "cut")
  assert calls == [call for call in whole if call[0] >= 3]
  assert again == summary
  assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
  # Another teacher, wherever it is, is refused; the same may have moved.
  config = changed(
    config,
    {"teacher.source": str(teacher.rename(tmp_path / "moved.safetensors"))},
  )
  assert loop.train_and_evaluate(config, tmp_path / "cut") == summary
  save_weights(
    config.teacher.source, tiny.module(), {"params": params}, {"a": 1}
  )
  with pytest.raises(UserError, match="holds another run .teacher.sha256: "):
    loop.train_and_evaluate(config, tmp_path / "cut")


@pytest.mark.slow
def test_both_data_modes_teach_alike(config, tmp_path):
  config = changed(config, {"teacher.source": "smfanet-x2"})
  config = changed(config, {"data": {"lr_only": 0.5, "permute_rgb": True}})
  config = changed(config, {"steps": 3, "log_every": 1})
  for mode in recipe_lib.DATA_MODES:
    config = changed(config, {"data.mode": mode})
    loop.train_and_evaluate(config, tmp_path / mode)
  # The samples are equal; XLA may sum the loss in another order.
  tfdata, resident = (rows(tmp_path / mode) for mode in recipe_lib.DATA_MODES)
  for a, b in zip(tfdata, resident, strict=True):
    assert a == pytest.approx(b, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["tfdata", "resident"])
def test_a_run_on_photos_resumes_bit_for_bit(config, tmp_path, mode, calls):
  small = {"kernel_size": (3, 5), "resize": (0.5, 1.2)}
  config = changed(config, {"steps": 3, "checkpoint_every": 1})
  config = changed(
    config,
    {
      "data.mode": mode,
      "data.degradation": "photo",
      "data.degradation_options": {"first": small, "second": small},
    },
  )
  summary = loop.train_and_evaluate(config, tmp_path / "whole")
  calls.cut = 2
  with pytest.raises(_CutOff):
    loop.train_and_evaluate(config, tmp_path / "cut")
  calls.cut = None
  assert loop.train_and_evaluate(config, tmp_path / "cut") == summary
  assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
  assert summary["degradation"] == "photo, own ranges"


def test_a_degradation_is_trained_validated_and_kept(config, tmp_path):
  found = {}
  for name in ("bicubic", "jpeg"):
    config = changed(config, {"data.degradation": name})
    summary = loop.train_and_evaluate(config, tmp_path / name)
    loss = next(r["loss"] for r in rows(tmp_path / name) if "loss" in r)
    found[name] = loss, summary["bicubic_psnr_y"]
    assert summary["degradation"] == (None if name == "bicubic" else "jpeg")
  assert found["jpeg"][0] != found["bicubic"][0]
  assert found["jpeg"][1] < found["bicubic"][1] - 0.1
  config = changed(config, {"data.degradation": "noise"})
  with pytest.raises(UserError, match="data.degradation: 'jpeg' there"):
    loop.train_and_evaluate(config, tmp_path / "jpeg")


def test_the_average_is_validated_saved_and_taken(config, tmp_path):
  config = changed(config, {"steps": 4, "optim": {"ema_decay": 0.5}})
  config = changed(config, {"optim.learning_rate": 1e-2})
  summary = loop.train_and_evaluate(config, tmp_path)
  (scores,) = [r for r in rows(tmp_path) if "psnr_y" in r]
  assert scores["ema_psnr_y"] != scores["psnr_y"]
  assert summary["psnr_y"] == pytest.approx(scores["ema_psnr_y"], abs=1e-4)
  # What is loaded scores as the average did, not as the parameters.
  upscale = bamjax.Upscaler(*bamjax.load_weights(tmp_path))
  images = experiment.make_source(config).val
  found = scoring.evaluate(upscale, images, config.scale)["matlab"]["psnr_y"]
  assert found == pytest.approx(scores["ema_psnr_y"], abs=1e-4)
  assert abs(found - scores["psnr_y"]) > 1e-2


def test_the_average_of_a_short_run_is_as_good_as_its_weights(config, tmp_path):
  config = changed(config, {"steps": 300, "optim": {"ema_decay": 0.999}})
  config = changed(
    config, {"optim": {"learning_rate": 1e-3, "schedule": "cosine"}}
  )
  loop.train_and_evaluate(config, tmp_path)
  (scores,) = [r for r in rows(tmp_path) if "psnr_y" in r]
  # A constant decay would leave 74 % of the initial weights in the average.
  assert scores["ema_psnr_y"] > scores["psnr_y"] - 0.3


def test_a_run_starts_from_another(config, tmp_path, capsys):
  file, run_dir = tmp_path / "x2.safetensors", tmp_path / "run"
  given = tiny.state(seed=1).params
  bamjax.save_weights(file, tiny.module(), {"params": given})
  config = changed(
    config, {"model": "edsr", "attn": "none", "scale": 4, "steps": 1}
  )
  options = {"blocks": 1, "features": 8}
  config = dataclasses.replace(config, model_options=options)
  config = changed(config, {"init_from": str(file)})
  config = changed(config, {"optim.learning_rate": 1e-30})
  loop.train_and_evaluate(config, run_dir)
  _, started = bamjax.load_weights(run_dir)
  for layer in ("head", "body", "tail"):
    np.testing.assert_array_equal(
      started["params"][layer]["kernel"], given[layer]["kernel"]
    )
  told = capsys.readouterr().out
  assert "newly initialized:" in told and "up" in told and "head" not in told


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"model": "edsr", "model_options": {"blocks": 1}}, "model pan, not edsr"),
    ({"init_from": "absent"}, "absent: no such file"),
    ({"optim": {"accumulate": 3}}, "a multiple of 3"),
    ({"optim": {"ema_decay": 1.0}}, "ema_decay"),
    ({"optim": {"clip_norm": -1.0}}, "clip_norm"),
    ({"data": {"mode": "disk"}}, "unknown data mode 'disk'"),
    ({"parallel": "threads"}, "unknown parallel"),
  ],
)
def test_mistakes_are_told_before_anything_is_trained(
  config, finished_run, tmp_path, change, words
):
  config = changed(config, {"init_from": str(finished_run)})
  if "model" in change:
    config = dataclasses.replace(config, model_options={})
  config = changed(config, change)
  with pytest.raises(UserError, match=words):
    loop.train_and_evaluate(config, tmp_path)
  assert not (tmp_path / "metrics.jsonl").exists()


def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(config, tmp_path):
  config = changed(
    config, {"steps": 40, "checkpoint_every": 1, "log_every": 40}
  )
  config = changed(config, {"optim.learning_rate": 1e12})
  with pytest.raises(UserError, match=r"at step (\d+), learning rate 1e\+12"):
    loop.train_and_evaluate(config, tmp_path)
  _, _, variables, step = folder.load(tmp_path)
  assert 1 <= step < 40
  finite = [np.isfinite(x).all() for x in jax.tree.leaves(variables)]
  assert all(finite)


def test_a_folder_that_a_run_holds_is_refused(config, tmp_path):
  with run_dir_lib.opened(tmp_path, config):
    with pytest.raises(UserError, match="another process is training"):
      loop.train_and_evaluate(config, tmp_path)
  with run_dir_lib.opened(tmp_path, config):
    pass


def test_other_images_on_resume_are_warned_of(
  config, finished_run, tmp_path, caplog
):
  config = changed(config, {"attn": "bam"})
  shutil.copytree(finished_run, tmp_path / "run")
  images = tmp_path / "images"
  shutil.copytree(config.data.data_dir, images)
  shutil.copy(images / "a.png", images / "c.png")
  for name in ("metrics.jsonl", "summary.json"):
    (tmp_path / "run" / name).unlink()
  shutil.rmtree(tmp_path / "run" / "checkpoints")
  config = changed(config, {"data.data_dir": str(images)})
  loop.train_and_evaluate(config, tmp_path / "run")
  assert "2 images then, 3 now" in caplog.text
  noted = json.loads((tmp_path / "run" / "data.json").read_text())
  assert noted["images"] == 3


@pytest.fixture
def copied(finished_run, tmp_path):
  """A copy of the finished run, its configuration, its images in a copy."""
  shutil.copytree(finished_run, tmp_path / "run")
  config = recipe_lib.load(finished_run / "config.json")
  shutil.copytree(config.data.val_dir, tmp_path / "images")
  config = changed(config, {"data.val_dir": str(tmp_path / "images")})
  return tmp_path / "run", config


def test_a_finished_run_is_not_scored_on_other_images(copied, capsys):
  run_dir, config = copied
  image = Path(config.data.val_dir) / "a.png"
  shutil.copy(image, image.with_name("c.png"))
  before = (run_dir / "summary.json").read_bytes()
  summary = loop.train_and_evaluate(config, run_dir)
  assert summary == json.loads(before)
  assert (run_dir / "summary.json").read_bytes() == before
  assert "has finished its 2 steps" in capsys.readouterr().out


def test_a_run_resumes_on_its_own_validation_images_alone(copied):
  run_dir, config = copied
  expected = (run_dir / "summary.json").read_bytes()
  (run_dir / "summary.json").unlink()
  image = Path(config.data.val_dir) / "b.png"
  content = image.read_bytes()
  shutil.copy(image.with_name("a.png"), image)
  with pytest.raises(UserError, match="validation images are not those"):
    loop.train_and_evaluate(config, run_dir)
  assert not (run_dir / "summary.json").exists()
  # The same are the same, elsewhere and by the names of older versions.
  image.write_bytes(content)
  noted = run_dir / "data.json"
  noted.write_text(noted.read_text().replace('"images"', '"pictures"'))
  loop.train_and_evaluate(config, run_dir)
  assert (run_dir / "summary.json").read_bytes() == expected


@pytest.fixture
def while_training(monkeypatch):
  """Calls something before the first step."""

  def register(call):
    make_advance = feed.make_advance

    def make(*args):
      call()
      return make_advance(*args)

    monkeypatch.setattr(feed, "make_advance", make)

  return register


def test_validation_images_that_vanish_are_scored_from_memory(
  copied, finished_run, tmp_path, while_training, capsys, caplog
):
  _, config = copied
  small = np.zeros((14, 14, 3), np.uint8)
  Image.fromarray(small).save(Path(config.data.val_dir) / "small.png")
  while_training(lambda: shutil.rmtree(config.data.val_dir))
  summary = loop.train_and_evaluate(config, tmp_path / "again")
  expected = json.loads((finished_run / "summary.json").read_text())
  assert summary == expected
  assert "skipped: small: too small to be scored" in caplog.text
  told = capsys.readouterr().out
  assert "trains on 2 images (10 crops), validates on 2: a, b" in told
  assert f"{expected['parameters']:,} parameters" in told


@pytest.mark.parametrize("moment", ["before", "while saving"])
def test_a_run_whose_folder_vanishes_says_so(
  copied, tmp_path, while_training, monkeypatch, moment
):
  _, config = copied

  def remove(*args):
    shutil.rmtree(tmp_path / "gone")
    if args:
      raise UserError("a checkpoint cannot be written; free some space")

  if moment == "before":
    while_training(remove)
  else:
    monkeypatch.setattr(loop.Checkpoints, "save", remove)
  with pytest.raises(UserError, match="gone: the run's folder was removed"):
    loop.train_and_evaluate(config, tmp_path / "gone")
  assert not (tmp_path / "gone").exists()


def test_a_run_whose_checkpoints_vanish_says_so(
  copied, tmp_path, while_training
):
  run_dir, config = copied
  folder = tmp_path / "other"
  while_training(lambda *_: shutil.rmtree(folder / "checkpoints"))
  with pytest.raises(UserError, match="the run's checkpoints were removed"):
    loop.train_and_evaluate(config, folder)


def test_rows_are_on_the_disk_before_the_checkpoint(
  config, tmp_path, monkeypatch
):
  config = changed(config, {"steps": 3, "log_every": 1, "checkpoint_every": 1})
  file, synced, found = tmp_path / "metrics.jsonl", [0], []
  fsync, save = os.fsync, loop.Checkpoints.save

  def counted(descriptor):
    status = os.fstat(descriptor)
    if file.exists() and os.path.samestat(status, file.stat()):
      synced.append(status.st_size)
    fsync(descriptor)

  def saved(self, step, *args):
    found.append((step, synced[-1], file.stat().st_size))
    save(self, step, *args)

  monkeypatch.setattr(os, "fsync", counted)
  monkeypatch.setattr(loop.Checkpoints, "save", saved)
  loop.train_and_evaluate(config, tmp_path)
  assert [step for step, _, _ in found] == [1, 2, 3]
  assert all(on_disk == size > 0 for _, on_disk, size in found)


@pytest.mark.parametrize("most", [1, 4, 7, 100])
def test_a_resumed_run_is_cut_into_the_same_calls(config, most):
  config = changed(
    config,
    {"log_every": 6, "eval_every": 10, "checkpoint_every": 9, "steps": 64},
  )

  def stops(step):
    while step < config.steps:
      step = feed.next_stop(step, config, most)
      yield step

  whole = list(stops(0))
  assert whole[-1] == 64
  assert {6, 9, 10, 12, 18, 20, 60} <= set(whole)
  assert np.diff([0, *whole]).max() <= most
  for i, stop in enumerate(whole):
    assert list(stops(stop)) == whole[i + 1 :]


def test_a_second_interrupt_acts_at_once(handled_signals):
  # Of a job in a shell's background it is SIG_IGN.
  before = signal.getsignal(signal.SIGINT)
  signals = distributed.Signals()
  with signals.caught():
    assert signals.stop(1) is None
    signal.raise_signal(signal.SIGINT)
    assert signals.stop(2) == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
  assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no terminals")
def test_a_closed_terminal_stops_a_run_that_nohup_does_not_keep(
  handled_signals,
):
  before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
  try:
    signals = distributed.Signals()
    with signals.caught():
      signal.raise_signal(signal.SIGHUP)
      assert signals.stop(1) == signal.SIGHUP
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signals = distributed.Signals()
    with signals.caught():
      signal.raise_signal(signal.SIGHUP)
      assert signals.stop(1) is None
  finally:
    signal.signal(signal.SIGHUP, before)


def test_joining_processes_needs_all_three_flags():
  with pytest.raises(UserError, match="must be used together"):
    distributed.initialize("localhost:1234")
  with pytest.raises(UserError, match="from 0 to 1"):
    distributed.initialize("localhost:1234", 2, 2)
  with pytest.raises(UserError, match="cannot connect.*--coordinator"):
    distributed.initialize()


def test_a_network_that_cannot_be_is_told(config, tmp_path):
  config = changed(config, {"attn": "bam"})  # with a reduction of 8
  config = changed(config, {"model_options.up_features": 4})
  with pytest.raises(UserError, match="cannot be built: attention with reduc"):
    loop.train_and_evaluate(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_a_coordinator_without_a_port_is_refused():
  for name in ("localhost", "localhost:", "10.0.0.1:x", "::1:99999", "a:0"):
    with pytest.raises(UserError, match="--coordinator must be HOST:PORT"):
      distributed.initialize(name, 1, 0)
