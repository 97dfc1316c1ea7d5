import json
from pathlib import Path
import subprocess
import sys

from PIL import Image
import pytest

from ablation import studies
from bamjax.ablation import cell_states
from bamjax.ablation import study_list
from bamjax.ablation import study_run
from bamjax.ablation import summary
from bamjax.ablation.cells import Cell
from bamjax.ablation.cells import make_cells
from bamjax.ablation.worker_process import Workers
from bamjax.errors import UserError
from bamjax.runs.recipe import from_dict


class Quick(Workers):
  """Workers that leave a finished cell at once, but for those named."""

  def __init__(self, study, broken=()):
    super().__init__((sys.executable, "-c"))
    object.__setattr__(self, "study", study)
    object.__setattr__(self, "broken", broken)
    object.__setattr__(self, "begun", [])

  def start(self, task, environment):
    cell = Cell(from_dict(task.config), Path(task.folder))
    self.begun.append(cell.name)
    text = "print('works')"
    if cell.name in self.broken:
      text = "raise SystemExit('x.py: error: no space left')"
    else:
      studies.finish(self.study, cell, 0.1 * (cell.config.attn == "bam"))
    return subprocess.Popen(
      [*self.command, text],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )

  def step_seconds(self, configs):
    return [2.0 if config.attn == "bam" else 1.0 for config in configs]

  def machine(self):
    return {"device": "cpu", "platform": "cpu", "count": 1}

  def slots(self):
    return [{}]


def run(study, part="", broken=()):
  lines, workers = [], Quick(study, broken)
  status = study_run.run(study, workers, part, lines.append)
  return status, workers.begun, "\n".join(lines)


def written(study):
  return {
    path.name: path.read_bytes() for path in study.folder.glob("ablation.*")
  }


def test_finished_cells_are_skipped_and_failed_ones_named(tmp_path):
  study = studies.make(tmp_path)
  status, begun, text = run(study, broken=["pan-bam-seed0"])
  assert status == 1 and len(begun) == 4
  assert "pan-bam-seed0 failed: no space left" in text
  assert "not finished, and not in here: pan-bam-seed0" in text
  status, begun, text = run(study)
  assert (status, begun) == (0, ["pan-bam-seed0"])
  assert text.startswith("3 of 4 cells are finished")
  before = written(study)
  assert run(study)[:2] == (0, [])
  assert written(study) == before and len(before) == 5


def test_shards_give_the_table_of_one(tmp_path):
  whole = studies.make(tmp_path)
  run(whole)
  parts = studies.make(tmp_path, folder=tmp_path / "parts")
  names = [run(parts, f"{i}/2")[1] for i in range(2)]
  assert [len(begun) for begun in names] == [2, 2]
  assert not set(names[0]) & set(names[1])
  assert written(parts) == written(whole)


def listed(study, part=""):
  lines = []
  study_list.describe(study, part, lines.append)
  title, _, _, *rows = lines[0].splitlines()
  return title, {row.split()[0]: row for row in rows}, lines[0]


def test_equal_time(tmp_path):
  study = studies.make(tmp_path, budget="seconds")
  _, rows, text = listed(study)
  assert not study.folder.exists()  # a dry run
  assert " by time " in rows["pan-bam-seed0"] and "by time: as many" in text
  assert rows["pan-native-seed0"].split()[4] == "4"
  run(study)
  _, rows, text = listed(study)
  # Measured when it began: a step of BAM takes twice as long.
  assert rows["pan-bam-seed0"].split()[4] == "2" and "by time" not in text


def test_a_dry_run_says_what_is_left_and_how_sure_it_is(tmp_path):
  study = studies.make(tmp_path)
  control, bam, _, _ = make_cells(study)
  title, rows, text = listed(study)
  assert "time: a guess from multiply-accumulates" in text
  # Four starts of 10 to 120 s, each with two sizes at 0.2 to 8 s: the images to
  # validate on and to score.
  assert "4 cells, 42 s to 9 minutes left" in title
  studies.finish(study, control)
  (bam.folder / "checkpoints" / "2").mkdir(parents=True)
  title, rows, text = listed(study, "0/1")
  assert "by the times of 1 finished cell" in text
  assert rows["pan-native-seed0"].split()[5:] == ["finished", "0", "s"]
  # As the control's other cell, which took 8 s.
  assert rows["pan-native-seed1"].split()[5:] == ["new", "about", "8", "s"]
  assert "at step 2" in rows["pan-bam-seed0"]
  # From half to twice as long as the control's, by about as many operations.
  assert rows["pan-bam-seed1"].endswith("4 to 16 s")


def test_an_attention_that_does_not_fit_is_one_error(tmp_path):
  options = {"pan": {**studies.TINY, "features": 2, "up_features": 2}}
  study = studies.make(tmp_path, options=options)
  workers = Quick(study)
  for call in (
    lambda: study_run.run(study, workers, show=lambda _: None),
    lambda: study_list.describe(study, show=lambda _: None),
  ):
    with pytest.raises(
      UserError, match="pan-bam-seed0 cannot be trained: attention with reduc"
    ):
      call()
  assert not workers.begun and not study.folder.exists()


def test_cells_that_are_scored_anew_are_named(tmp_path):
  study = studies.make(tmp_path)
  run(study)
  Image.new("RGB", (32, 32)).save(tmp_path / "Set5" / "image0.png")
  # Another attention, later, and without one of the seeds.
  wider = studies.make(tmp_path, attns=["native", "bam", "ca"], seeds=[0])
  status, begun, text = run(wider)
  assert "Set5: the images have changed" in text
  assert "scored anew: pan-native-seed0, pan-bam-seed0\n" in text
  assert begun == [f"pan-{a}-seed0" for a in ("native", "bam", "ca")]
  # The cells of the other seed are not compared with those.
  assert "until the command names them: pan-bam-seed1, pan-native-seed1" in text
  found = json.loads((study.folder / "ablation.json").read_text())
  assert found["outdated"] == ["pan-bam-seed1", "pan-native-seed1"]
  assert [line["seeds"] for line in found["lines"]] == [[0], [0], [0]]


DAMAGED = ("", "{", "[]", "3", "{}", '{"steps": "4", "train_seconds": []}')


@pytest.mark.parametrize("text", DAMAGED)
@pytest.mark.parametrize(
  "name", ["summary.json", "data.json", "cell.json", "results.json"]
)
def test_damaged_files_of_a_cell(tmp_path, name, text):
  study = studies.make(tmp_path)
  cells = studies.finish_all(study)
  (cells[1].folder / name).write_text(text)
  listed(study)
  left = [c.name for c in cells if cell_states.state(study, c) != "finished"]
  if name == "data.json":
    with pytest.raises(UserError, match="data.json, which records .* damaged"):
      summary.summarize(study, cells)
    return
  # The summary and the scores are made again.
  assert left == ([] if name == "cell.json" else ["pan-bam-seed0"])
  assert summary.summarize(study, cells).missing == left


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_configuration_is_one_error(tmp_path, text):
  study = studies.make(tmp_path)
  cells = studies.finish_all(study)
  (cells[1].folder / "config.json").write_text(text)
  for call in (run, listed):
    with pytest.raises(
      UserError, match="pan-bam-seed0/config.json.*; restore it"
    ):
      call(study)


def test_another_recipe_is_refused_before_any_work(tmp_path):
  study = studies.make(tmp_path)
  run(study)
  study = studies.vary(study, {"steps": 8})
  workers = Quick(study)
  with pytest.raises(UserError, match="begun with another recipe"):
    study_run.run(study, workers, show=lambda _: None)
  assert not workers.begun


def test_invalid_data_is_one_error(tmp_path):
  study = studies.make(tmp_path)
  study = studies.vary(study, {"data.data_dir": str(tmp_path / "absent")})
  with pytest.raises(UserError, match="absent"):
    study_run.run(study, Quick(study), show=lambda _: None)
  assert not Path(study.folder).exists()
