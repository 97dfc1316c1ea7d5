"""SR files of any program are matched to the HR images of a test set."""

import numpy as np
from PIL import Image
import pytest

from bamjax.data.sr_files import find_sr_files
from bamjax.errors import UserError


def lay(folder, *names):
  folder.mkdir(parents=True, exist_ok=True)
  for name in names:
    path = folder / (name if "." in name else f"{name}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save(path)
  return folder


@pytest.fixture
def hr(tmp_path):
  return lay(tmp_path / "Set5" / "HR", "baby", "bird").parent


def matched(source, test_set, scale=None):
  """Image name → file name, without its extension."""
  _, sr_files = find_sr_files(source, test_set, scale)
  return {image.name: path.stem for image, path in sr_files.files.items()}


@pytest.mark.parametrize(
  "suffix",
  [
    *("", "_x4", "x4", "-x4", "_X4", "_SR", "_x4_SR", "_SR_x4", "_out", "_rlt"),
    *("_HR_x4", "_x4_HR", "_LRBI_x4", "_x4_out", "_result", "_4x", "_SRF_4_HR"),
    *("x4_SR", "_IMDN", "_EDSR_Mx4_f64b16", "-x4-my network"),
  ],
)
def test_suffixes(tmp_path, hr, suffix):
  names = [f"baby{suffix}", f"bird{suffix}"]
  source = lay(tmp_path / "made", *names)
  assert matched(source, hr, 4) == dict(
    zip(["baby", "bird"], names, strict=True)
  )


def test_extensions_and_case_do_not_matter(tmp_path, hr):
  source = lay(tmp_path / "made", "Baby_x4.PNG", "BIRD_X4.Jpg")
  assert matched(source, hr, 4) == {"baby": "Baby_x4", "bird": "BIRD_X4"}


@pytest.mark.parametrize("place", ["Set5", "set5/x4", "X4", "x4/Set5", "."])
def test_folders_of_a_test_set_or_a_scale_are_entered(tmp_path, hr, place):
  made = tmp_path / "made"
  lay(made / place, "baby", "bird")
  lay(made / "Set14", "baby", "bird", "comic")
  _, sr_files = find_sr_files(made, hr, 4)
  assert sr_files.folder == made / place
  assert len(sr_files.files) == 2
  assert sr_files.source == str(made)


def test_missing_and_other_images(tmp_path, hr, caplog):
  source = lay(tmp_path / "made", "baby", "comic", "babybird")
  _, sr_files = find_sr_files(source, hr, 4)
  assert [image.name for image in sr_files.missing] == ["bird"]
  assert "ignored 2 images without HR image in Set5" in caplog.text


def test_the_ending_that_most_images_have_counts(tmp_path):
  test_set = lay(tmp_path / "mine", "a", "a_SR", "b")
  # Whose is a_SR? Both files end alike if it is a_SR's.
  source = lay(tmp_path / "made", "a_SR", "b")
  assert matched(source, test_set, 4) == {"a_SR": "a_SR", "b": "b"}
  lay(source, "a")
  assert matched(source, test_set, 4)["a"] == "a"
  other = lay(tmp_path / "other", "a_SR", "a_SR_SR", "b_SR")
  assert matched(other, test_set, 4) == {
    "a": "a_SR",
    "a_SR": "a_SR_SR",
    "b": "b_SR",
  }


@pytest.mark.parametrize(
  "names",
  [
    ("baby", "baby_x4", "bird", "bird_x4"),
    ("baby_IMDN", "baby_EDSR", "bird_IMDN", "bird_EDSR"),
    ("baby_1", "bird_2"),
  ],
)
def test_files_that_end_in_several_ways_are_refused(tmp_path, hr, names):
  source = lay(tmp_path / "made", *names)
  with pytest.raises(UserError, match="end in different ways, ba.* and b"):
    find_sr_files(source, hr, 4)


def test_two_files_or_two_images_of_one_name_are_refused(tmp_path, hr):
  source = lay(tmp_path / "made", "baby_x4.jpg", "baby_x4.png", "bird_x4")
  with pytest.raises(UserError, match="baby_x4.jpg and baby_x4.png match"):
    find_sr_files(source, hr, 4)
  both = lay(tmp_path / "both", "baby", "Baby")
  if len(list(both.iterdir())) == 2:  # not on systems that ignore case
    with pytest.raises(UserError, match="baby.png matches several HR images"):
      find_sr_files(lay(tmp_path / "one", "baby"), both, 4)


def test_inputs_next_to_outputs_are_not_scored(tmp_path, hr):
  names = [f"{n}_x4_{kind}" for n in ("baby", "bird") for kind in ("SR", "HR")]
  source = lay(tmp_path / "made", *names, "baby_x4_LR", "bird_x4_LR")
  assert set(matched(source, hr).values()) == {"baby_x4_SR", "bird_x4_SR"}


def test_files_of_another_scale_are_not_used(tmp_path, hr):
  names = [f"{n}_x{s}" for n in ("baby", "bird") for s in (2, 3)]
  source = lay(tmp_path / "made", *names)
  assert set(matched(source, hr, 3).values()) == {"baby_x3", "bird_x3"}
  with pytest.raises(UserError, match="named as ×2 and ×3, not ×4"):
    find_sr_files(source, hr, 4)
  with pytest.raises(UserError, match="named as ×2 and ×3: pass --scale"):
    find_sr_files(source, hr)


@pytest.mark.parametrize(
  ("folder", "suffix", "scale"),
  [
    ("made", "_x3", 3),
    ("made", "_SRF_2_HR", 2),
    ("imdn-bam-x4", "", 4),
    ("X3", "", 3),
    ("edsr_x2/results", "", 2),
  ],
)
def test_the_scale_is_inferred(tmp_path, hr, folder, suffix, scale):
  source = lay(tmp_path / folder, f"baby{suffix}", f"bird{suffix}")
  _, sr_files = find_sr_files(source, hr)
  assert sr_files.scale == scale
  # What names say counts more.
  assert find_sr_files(source, hr, default=8)[1].scale == scale


def test_a_scale_that_no_name_states(tmp_path, hr):
  source = lay(tmp_path / "made", "baby", "bird")
  assert find_sr_files(source, hr, default=3)[1].scale == 3
  with pytest.raises(UserError, match="named after the scale.* pass --scale"):
    find_sr_files(source, hr)


def test_mistakes(tmp_path, hr):
  empty = tmp_path / "empty"
  empty.mkdir()
  with pytest.raises(UserError, match="no folder"):
    find_sr_files(tmp_path / "absent", hr, 4)
  with pytest.raises(UserError, match="holds no image"):
    find_sr_files(empty, hr, 4)
  strangers = lay(tmp_path / "strangers", "comic")
  with pytest.raises(UserError, match="no file in .* is named like"):
    find_sr_files(strangers, hr, 4)
  lr_only = lay(tmp_path / "real" / "LR", "baby").parent
  with pytest.raises(UserError, match="no HR images"):
    find_sr_files(lay(tmp_path / "made", "baby"), lr_only, 4)
  many = tmp_path / "many"
  lay(many / "x2", "baby")
  lay(many / "x4", "baby")
  with pytest.raises(UserError, match="holds images at ×2 and ×4"):
    find_sr_files(many, hr)
