import dataclasses
import shutil

import pytest

from ablation import studies
from bamjax import pretrained
from bamjax.ablation import equal_terms
from bamjax.ablation.cells import make_cells
from bamjax.errors import UserError
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import changed


def test_cells_of_one_recipe_are_equal(tmp_path):
  study = studies.make(tmp_path, models=["pan", "imdn"])
  cells = studies.finish_all(study)
  equal_terms.check(study.folder, cells, "steps")
  # Also where only some of what is there is asked for.
  equal_terms.check(study.folder, cells[:1], "steps")


@pytest.mark.parametrize(
  "change, message",
  [
    ({"steps": 8}, "steps: 4 there, 8 now"),
    ({"batch_size": 4}, "batch_size: 2 there, 4 now"),
    ({"dtype": "bfloat16"}, "dtype: 'float32' there"),
    ({"data": {"patch": 16}}, "data.patch: 8 there, 16 now"),
    ({"optim": {"learning_rate": 1e-3}}, "optim.learning_rate"),
  ],
)
def test_another_recipe_is_refused(tmp_path, change, message):
  study = studies.make(tmp_path)
  cells = make_cells(study)
  studies.finish(study, cells[0])
  study = studies.vary(study, change)
  with pytest.raises(UserError, match=f"begun with another recipe.*{message}"):
    equal_terms.check(study.folder, make_cells(study), "steps")
  # Nor beside the cell of another attention.
  with pytest.raises(UserError, match=f"not trained on equal terms.*{message}"):
    equal_terms.check(study.folder, make_cells(study)[1:2], "steps")


def test_a_teacher_is_the_same_in_all_cells(tmp_path):
  study = studies.make(tmp_path)
  file = tmp_path / "a.safetensors"
  shutil.copy(pretrained.find("smfanet-x2"), file)
  study = studies.vary(study, {"teacher.source": str(file)})
  cells = make_cells(study)
  assert cells[0].config.teacher.licence.startswith("Apache-2.0")
  assert study.recipe.teacher.sha256 == ""  # as it was
  studies.finish(study, cells[0])
  # Another path to it.
  study = studies.vary(study, {"teacher.source": "smfanet-x2"})
  equal_terms.check(study.folder, make_cells(study), "steps")
  study = studies.vary(study, {"teacher.source": "pan-bam-x2"})
  with pytest.raises(UserError, match="begun with.*teacher.sha256: '"):
    equal_terms.check(study.folder, make_cells(study), "steps")
  with pytest.raises(UserError, match="not trained on equal terms.*sha256"):
    equal_terms.check(study.folder, make_cells(study)[1:2], "steps")


def test_a_backbone_has_the_same_options_in_all_cells(tmp_path):
  study = studies.make(tmp_path)
  studies.finish(study, make_cells(study)[0])
  other = studies.make(tmp_path, options={"pan": {"blocks": 2}})
  with pytest.raises(UserError, match="equal terms.*model_options.blocks"):
    equal_terms.check(study.folder, make_cells(other)[1:2], "steps")


def resized(cell, steps):
  """A cell with another length."""
  config = dataclasses.replace(cell.config, steps=steps)
  return dataclasses.replace(cell, config=config)


def test_backbones_train_on_equal_terms_too(tmp_path):
  study = studies.make(tmp_path, models=["pan", "imdn"])
  cells = make_cells(study)
  cells[2:4] = [resized(cell, 5) for cell in cells[2:4]]  # imdn's
  with pytest.raises(UserError, match="pan-native.*imdn-native.*steps"):
    equal_terms.check(study.folder, cells[:4], "steps")


def test_equal_seconds_allow_other_lengths(tmp_path):
  study = studies.make(tmp_path)
  control, bam, *_, second = make_cells(study)
  bam, second = resized(bam, 3), resized(second, 3)
  equal_terms.check(study.folder, [control, bam, second], "seconds")
  with pytest.raises(UserError, match="equal terms.*steps"):
    equal_terms.check(study.folder, [control, bam, second], "steps")
  second = resized(second, 2)  # unlike the other seed's
  with pytest.raises(UserError, match="bam-seed0 and pan-bam-seed1.*steps"):
    equal_terms.check(study.folder, [control, bam, second], "seconds")


def test_data_may_lie_elsewhere_and_not_differ(tmp_path):
  study = studies.make(tmp_path)
  cells = studies.finish_all(study)
  config = recipe_lib.load(cells[0].folder / "config.json")
  config = changed(config, {"data.data_dir": "/elsewhere"})
  recipe_lib.save(config, cells[0].folder / "config.json")
  equal_terms.check(study.folder, cells, "steps")
  folders = [cell.folder for cell in cells]
  equal_terms.check_data(folders)
  studies.finish(study, cells[-1], content="others")
  with pytest.raises(UserError, match="not trained and validated on the same"):
    equal_terms.check_data(folders)
