from pathlib import Path
import subprocess
import sys

import pytest

from ablation import studies
from bamjax.ablation import study_run
from bamjax.ablation.cells import make_cells
from bamjax.ablation.worker_process import Workers
from bamjax.errors import UserError


class Quick(Workers):
  """Workers that leave a finished cell at once, but for those named."""

  def __init__(self, study, broken=()):
    super().__init__([sys.executable, "-c"])
    cells = make_cells(study)
    object.__setattr__(self, "study", study)
    object.__setattr__(self, "cells", {str(c.folder): c for c in cells})
    object.__setattr__(self, "broken", broken)
    object.__setattr__(self, "begun", [])

  def start(self, task, environment):
    cell = self.cells[task.folder]
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


def test_equal_time(tmp_path):
  study = studies.make(tmp_path, budget="seconds")
  lines = []
  study_run.describe(study, Quick(study), show=lines.append)
  assert not study.folder.exists()  # a dry run
  rows = {line.split()[0]: line.split() for line in lines[0].splitlines()}
  assert rows["pan-native-seed0"][4] == "4" and rows["pan-bam-seed0"][4] == "2"


def test_a_dry_run_says_what_is_left(tmp_path):
  study = studies.make(tmp_path)
  control, bam, _, _ = make_cells(study)
  studies.finish(study, control)
  (bam.folder / "checkpoints" / "2").mkdir(parents=True)
  lines = []
  study_run.describe(study, Quick(study), "0/1", lines.append)
  # A control of 8 s, by the one that is finished; BAM of 4 steps of 2 s.
  assert "4 cells, about 20 s of training left" in lines[0]
  (row,) = [line for line in lines[0].splitlines() if "bam-seed0" in line]
  assert "at step 2" in row and row.endswith("4 s")


def test_another_recipe_is_refused_before_any_work(tmp_path):
  study = studies.make(tmp_path)
  run(study)
  study.recipe.steps = 8
  workers = Quick(study)
  with pytest.raises(UserError, match="begun with another recipe"):
    study_run.run(study, workers, show=lambda _: None)
  assert not workers.begun


def test_invalid_data_is_one_error(tmp_path):
  study = studies.make(tmp_path)
  study.recipe.data.data_dir = str(tmp_path / "absent")
  with pytest.raises(UserError, match="absent"):
    study_run.run(study, Quick(study), show=lambda _: None)
  assert not Path(study.folder).exists()
