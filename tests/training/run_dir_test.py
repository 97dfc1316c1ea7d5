import json
import shutil

import pytest

from bamjax import networks
from bamjax.errors import UserError
from bamjax.runs import folder
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import changed
from bamjax.runs.recipe import Recipe
from bamjax.training import run_dir as run_dir_lib
from scripts import rows


@pytest.fixture
def config():
  return Recipe(checkpoint_every=10, eval_every=15, steps=100)


def log(path, *steps):
  lines = [json.dumps({"step": step, "loss": 0.5}) + "\n" for step in steps]
  (path / "metrics.jsonl").write_text("".join(lines))


def test_cut_off_before_a_checkpoint_a_run_starts_anew(
  tmp_path, config, capsys
):
  run_dir_lib.check_new(tmp_path, config)
  assert not capsys.readouterr().out
  # The first checkpoint, begun at step 10, may have been cut off until 15.
  log(tmp_path, 5, 10, 15)
  run_dir_lib.check_new(tmp_path, config)
  assert "starting again" in capsys.readouterr().out


@pytest.mark.parametrize("history", ["rows", "broken", "summary.json"])
def test_a_run_whose_checkpoints_are_gone_is_refused(tmp_path, config, history):
  if history == "rows":
    log(tmp_path, 5, 10, 15, 20)
  elif history == "broken":
    (tmp_path / "broken" / "10").mkdir(parents=True)
  else:
    (tmp_path / history).write_text("{}")
  with pytest.raises(UserError, match="checkpoints are missing"):
    run_dir_lib.check_new(tmp_path, config)


def test_checkpoints_without_a_configuration_are_refused(tmp_path, config):
  (tmp_path / "checkpoints" / "10").mkdir(parents=True)
  with pytest.raises(UserError, match="has checkpoints but no config.json"):
    with run_dir_lib.opened(tmp_path, config):
      pass
  assert not (tmp_path / "config.json").exists()
  # What a folder that was removed while a checkpoint was written is left with.
  unfinished = tmp_path / "checkpoints" / "10.orbax-checkpoint-tmp"
  (tmp_path / "checkpoints" / "10").rename(unfinished)
  with run_dir_lib.opened(tmp_path, config):
    pass


def test_a_refused_resume_names_the_way_to_train_longer(tmp_path, config):
  with run_dir_lib.opened(tmp_path, config):
    pass
  (tmp_path / "data.json").write_text("{}")
  for name, value, told in (("seed", 1, False), ("steps", 200, True)):
    config = changed(config, {name: value})
    with pytest.raises(UserError, match="another run") as caught:
      with run_dir_lib.opened(tmp_path, config):
        pass
    assert (f"--init_from={tmp_path}" in str(caught.value)) == told


def test_a_mistake_that_ended_a_run_at_its_start_can_be_corrected(
  tmp_path, config
):
  config = changed(config, {"init_from": "absent.safetensors"})
  with pytest.raises(UserError, match="no such file"):
    with run_dir_lib.opened(tmp_path, config):
      networks.load_network(config.init_from)
  config = changed(config, {"init_from": ""})
  with run_dir_lib.opened(tmp_path, config):
    pass
  assert recipe_lib.load(tmp_path / "config.json").init_from == ""


def test_a_full_disk_leaves_no_half_file(tmp_path, config, monkeypatch):
  log(tmp_path, 1, 2, 3)
  before = (tmp_path / "metrics.jsonl").read_text()

  def full(*_, **__):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr("pathlib.Path.write_text", full)
  with pytest.raises(UserError, match="config.json cannot be written: No spa"):
    with run_dir_lib.opened(tmp_path, config):
      pass
  with pytest.raises(UserError, match="metrics.jsonl cannot be written"):
    run_dir_lib.Logs(tmp_path, 2)
  monkeypatch.undo()
  assert not (tmp_path / "config.json").exists()
  assert (tmp_path / "metrics.jsonl").read_text() == before


def test_lines_that_are_no_rows_are_left_out(tmp_path, caplog):
  good = ['{"step": 1, "loss": 0.5}', '{"step": 2, "psnr_y": 30.0}']
  bad = ["[]", "5", "{}", '{"step": "x"}', '{"step": null}', "", "\udcff"]
  lines = [good[0], *bad, good[1], '{"step": 3}', '{"st']
  text = "\n".join(lines).encode(errors="surrogateescape")
  (tmp_path / "metrics.jsonl").write_bytes(text)
  run_dir_lib.Logs(tmp_path, 2).close()
  assert [json.dumps(row) for row in rows(tmp_path)] == good
  assert "skipped invalid lines: [2, 3, 4, 5, 6, 7, 8, 11]" in caplog.text


def test_a_line_that_was_cut_off_is_no_news(tmp_path, caplog):
  (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"ste')
  run_dir_lib.Logs(tmp_path, 2).close()
  assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n'
  assert not caplog.text


def test_an_older_run_lacks_fields(finished_run, tmp_path):
  run = tmp_path / "run"
  shutil.copytree(finished_run, run)
  config = json.loads((run / "config.json").read_text())
  for name in ("init_from", "normalization", "dtype", "parallel", "optim"):
    del config[name]
  del config["data"]["mode"]
  (run / "config.json").write_text(json.dumps(config))
  assert recipe_lib.load(run / "config.json") == recipe_lib.load(
    finished_run / "config.json"
  )
  assert networks.load_network(run).step == 2


@pytest.mark.parametrize("version", [1, None, "x"])
def test_a_run_of_another_order_of_samples_is_not_resumed(
  finished_run, tmp_path, version
):
  run_dir_lib.check_resumable(finished_run)
  config = json.loads((finished_run / "config.json").read_text())
  del config["version"]
  if version:
    config["version"] = version
  (tmp_path / "config.json").write_text(json.dumps(config))
  with pytest.raises(UserError, match="in another order.*--init_from="):
    run_dir_lib.check_resumable(tmp_path)


def test_a_value_that_no_run_has_is_told_with_its_file(finished_run, tmp_path):
  config = json.loads((finished_run / "config.json").read_text())
  config["data"]["patch"] = -5
  (tmp_path / "config.json").write_text(json.dumps(config))
  with pytest.raises(UserError, match=r"config\.json: data\.patch must be"):
    folder.load(tmp_path)
