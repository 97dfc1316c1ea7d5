from dataclasses import asdict
import functools
import json
import shutil
import types

import numpy as np
from PIL import Image
import pytest

from ablation import studies
from bamjax.ablation import analysis
from bamjax.ablation import cell_states
from bamjax.ablation import cell_work
from bamjax.ablation import equal_terms
from bamjax.ablation.cells import Cell
from bamjax.ablation.cells import make_cells
from bamjax.data import cache
from bamjax.data import crops
from bamjax.errors import UserError
from bamjax.evaluation import result_files
from bamjax.runs import recipe as recipe_lib
from bamjax.training import run_data


def place(finished_run, folder):
  """A finished run as a cell, and its study."""
  study = studies.make(folder)
  config = recipe_lib.load(finished_run / "config.json")
  cell = Cell(config, study.folder / "cells" / "pan-bam-seed0")
  shutil.copytree(finished_run, cell.folder)
  return study, cell


def test_a_trained_cell_is_scored(tmp_path, finished_run, kept_programs):
  study, cell = place(finished_run, tmp_path)
  assert cell_states.state(study, cell) == "trained"
  task = cell_states.make_task(study, cell)
  # As a worker gets it.
  cell_work.run(cell_states.Task(**json.loads(json.dumps(asdict(task)))))
  assert cell_states.state(study, cell) == "finished"
  (row,) = result_files.read(cell.folder)
  assert (row["benchmark"], row["protocol"]) == ("Set5", "matlab")
  assert (row["attn"], len(row["images"])) == ("bam", 4)
  notes = json.loads((cell.folder / cell_states.NOTES).read_text())
  assert notes["score_seconds"] > 0 and notes["device"]

  # More degradations are scored without another training.
  noisy = studies.make(tmp_path, degradations=["bicubic", "noise:25"])
  assert cell_states.state(noisy, cell) == "trained"
  cell_work.run(cell_states.make_task(noisy, cell))
  assert cell_states.state(noisy, cell) == "finished"
  clean, degraded = result_files.read(cell.folder)
  assert clean == row
  assert degraded["degradation"] == "noise:25"
  assert degraded["bicubic_psnr_y"] < clean["bicubic_psnr_y"]
  scored = analysis.read_scored({1: [clean, degraded]}, {1: 1}, noisy.tests)
  assert [*scored] == ["Set5", "Set5 with noise:25"]

  # All cells have to be scored on the same images.
  other = studies.benchmark(tmp_path / "Set14", 2)
  more = studies.make(tmp_path, benchmarks=[str(other)])
  assert cell_states.state(more, cell) == "trained"
  (other / "image0.png").write_bytes(b"no image")
  with pytest.raises(UserError, match="Set14: images can't be used: image0"):
    cell_work.run(cell_states.make_task(more, cell))


def test_states(tmp_path):
  study = studies.make(tmp_path)
  cell, other, *_ = make_cells(study)
  assert cell_states.state(study, cell) == "new"
  (cell.folder / "checkpoints" / "2").mkdir(parents=True)
  assert cell_states.state(study, cell) == "at step 2"
  studies.finish(study, other)
  assert cell_states.state(study, other) == "finished"


def score(folder, study, cell):
  """The row of a study's only test, after a worker's work."""
  cell_work.run(cell_states.make_task(study, cell))
  (test,) = studies.make(folder, benchmarks=study.benchmarks).tests
  return test.scored_in(cell_states.read_rows(cell.folder))


def test_scores_of_other_images_do_not_count(
  tmp_path, finished_run, kept_programs
):
  study, cell = place(finished_run, tmp_path)
  first = score(tmp_path, study, cell)
  # The same folder with a changed image.
  path = tmp_path / "Set5" / "image0.png"
  Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
  changed = studies.make(tmp_path)
  (test,) = changed.tests
  assert test.outdated_in(cell_states.read_rows(cell.folder))
  assert cell_states.state(changed, cell) == "trained"
  second = score(tmp_path, changed, cell)
  assert cell_states.state(changed, cell) == "finished"
  psnr = [[i["psnr_y"] for i in row["images"]] for row in (first, second)]
  assert psnr[0][0] != psnr[1][0] and psnr[0][1:] == psnr[1][1:]

  # Another folder of the same name, and the same images elsewhere.
  other = studies.benchmark(tmp_path / "other" / "Set5", 3)
  elsewhere = studies.make(tmp_path, benchmarks=[str(other)])
  assert cell_states.state(elsewhere, cell) == "trained"
  assert len(score(tmp_path, elsewhere, cell)["images"]) == 3
  assert cell_states.state(changed, cell) == "finished"
  shutil.copytree(other, tmp_path / "third" / "Set5")
  third = studies.make(tmp_path, benchmarks=[str(tmp_path / "third" / "Set5")])
  assert cell_states.state(third, cell) == "finished"


@pytest.mark.parametrize(
  "field", ["protocol_version", "degradation_version", "content"]
)
def test_scores_of_other_versions_do_not_count(tmp_path, field):
  study = studies.make(tmp_path)
  (test,) = study.tests
  row = {**test.basis, field: 0}
  assert test.scored_in([row]) is None and test.outdated_in([row])
  assert test.scored_in([row, test.basis]) == test.basis
  # Older versions of bamjax did not write what the images were.
  del row["content"]
  assert test.scored_in([row]) is None and test.outdated_in([row])


def test_a_cell_is_not_resumed_on_other_images(tmp_path):
  """By the training loop, in which cells set `same_images`."""
  pair = np.zeros((8, 8, 3), np.uint8), np.zeros((16, 16, 3), np.uint8)
  store = crops.CropStore(cache.Decoded(["a"], [pair], ["0"], []), 4)
  validation = types.SimpleNamespace(
    names=["v"], digests=["9"], fingerprint=lambda: "v"
  )
  note = functools.partial(run_data.note, tmp_path, store, validation)
  read = functools.partial(equal_terms.read_object, tmp_path / "data.json")
  note()
  content = read()["content"]
  note(resumed=True, same_images=True)
  store.decoded.digests = ["1"]
  with pytest.raises(UserError, match="not those that it started with"):
    note(resumed=True, same_images=True)
  assert read()["content"] == content
  # A run of train.py may, but is not taken for a cell of equal terms.
  note(resumed=True)
  note(resumed=True)
  assert [then["content"] for then in read()["earlier"]] == [content]
  with pytest.raises(UserError, match="was resumed on other training images"):
    equal_terms.check_data([tmp_path])
  # Before its first checkpoint, nothing has been learned of the first images.
  note()
  equal_terms.check_data([tmp_path])


def test_a_cell_is_trained_on_the_same_images(tmp_path, monkeypatch):
  study = studies.make(tmp_path)
  given = []

  def train(config, folder, **options):
    given.append(options)
    raise UserError("no more")

  monkeypatch.setattr(cell_work.loop, "train_and_evaluate", train)
  with pytest.raises(UserError, match="no more"):
    cell_work.run(cell_states.make_task(study, make_cells(study)[0]))
  assert given == [{"same_images": True}]
