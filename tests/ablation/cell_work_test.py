from dataclasses import asdict
import json
import shutil

import pytest

from ablation import studies
from bamjax.ablation import analysis
from bamjax.ablation import cell_work
from bamjax.ablation.cells import Cell
from bamjax.ablation.cells import make_cells
from bamjax.errors import UserError
from bamjax.evaluation import result_files
from bamjax.runs import config as config_lib


def place(finished_run, folder):
  """A finished run as a cell, and its study."""
  study = studies.make(folder)
  config = config_lib.load(finished_run / "config.json")
  cell = Cell(config, study.folder / "cells" / "pan-bam-seed0")
  shutil.copytree(finished_run, cell.folder)
  return study, cell


def test_a_trained_cell_is_scored(tmp_path, finished_run, kept_programs):
  study, cell = place(finished_run, tmp_path)
  assert cell_work.state(study, cell) == "trained"
  task = cell_work.make_task(study, cell)
  # As a worker gets it.
  cell_work.run(cell_work.Task(**json.loads(json.dumps(asdict(task)))))
  assert cell_work.state(study, cell) == "finished"
  (row,) = result_files.read(cell.folder)
  assert (row["benchmark"], row["protocol"]) == ("Set5", "matlab")
  assert (row["attn"], len(row["images"])) == ("bam", 4)
  notes = json.loads((cell.folder / cell_work.NOTES).read_text())
  assert notes["score_seconds"] > 0 and notes["device"]

  # More degradations are scored without another training.
  noisy = studies.make(tmp_path, degradations=["bicubic", "noise:25"])
  assert cell_work.state(noisy, cell) == "trained"
  cell_work.run(cell_work.make_task(noisy, cell))
  assert cell_work.state(noisy, cell) == "finished"
  clean, degraded = result_files.read(cell.folder)
  assert clean == row
  assert degraded["degradation"] == "noise:25"
  assert degraded["bicubic_psnr_y"] < clean["bicubic_psnr_y"]
  assert [*analysis.read_scored({1: [clean, degraded]}, {1: 1}, "matlab")] == [
    "Set5",
    "Set5 with noise:25",
  ]

  # All cells have to be scored on the same images.
  other = studies.benchmark(tmp_path / "Set14", 2)
  more = studies.make(tmp_path, benchmarks=[str(other)])
  assert cell_work.state(more, cell) == "trained"
  (other / "image0.png").write_bytes(b"no image")
  with pytest.raises(UserError, match="Set14: images can't be used: image0"):
    cell_work.run(cell_work.make_task(more, cell))


def test_states(tmp_path):
  study = studies.make(tmp_path)
  cell, other, *_ = make_cells(study)
  assert cell_work.state(study, cell) == "new"
  (cell.folder / "checkpoints" / "2").mkdir(parents=True)
  assert cell_work.state(study, cell) == "at step 2"
  studies.finish(study, other)
  assert cell_work.state(study, other) == "finished"
