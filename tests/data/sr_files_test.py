"""SR files of any program are matched to the HR images of a test set."""

import numpy as np
from PIL import Image
import pytest

from bamjax.data.sr_files import find_sr_files
from bamjax.errors import UserError

# Not a multiple of 2, 3 or 4.
SIZE = (31, 25)


def lay(folder, *names, size=SIZE):
  folder.mkdir(parents=True, exist_ok=True)
  for name in names:
    path = folder / (name if "." in name else f"{name}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((size[1], size[0], 3), np.uint8)).save(path)
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
  source = lay(tmp_path / "made", "Baby_x4.PNG", "BIRD.Jpg")
  assert matched(source, hr, 4) == {"baby": "Baby_x4", "bird": "BIRD"}


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
  assert {p.stem for p in sr_files.ignored} == {"comic", "babybird"}
  assert "ignored 2 images without HR image in Set5" in caplog.text


def problems(source, test_set, scale=4):
  _, sr_files = find_sr_files(source, test_set, scale)
  return {image.name: text for image, text in sr_files.problems.items()}


def test_a_file_that_matches_two_images_is_named(tmp_path):
  test_set = lay(tmp_path / "mine", "a", "a_SR", "b")
  source = lay(tmp_path / "made", "a_SR", "b")
  found = problems(source, test_set)
  assert found.keys() == {"a", "a_SR"}
  for text in found.values():
    assert "a_SR.png matches several HR images: a and a_SR" in text
  # If all images have a file with one suffix, it is the suffix that counts.
  lay(source, "a")
  assert not problems(source, test_set)
  other = lay(tmp_path / "other", "a_SR", "a_SR_SR", "b_SR")
  assert not problems(other, test_set)
  assert matched(other, test_set, 4)["a"] == "a_SR"


def test_two_files_of_one_image_are_named(tmp_path, hr):
  source = lay(tmp_path / "made", "baby", "baby_x4", "bird_x4.jpg", "bird.png")
  assert problems(source, hr) == {
    "baby": "several files match it: baby.png and baby_x4.png",
    "bird": "several files match it: bird.png and bird_x4.jpg",
  }


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
  ("folder", "suffix", "size", "scale"),
  [
    ("made", "_x3", SIZE, 3),
    ("made", "_SRF_2_HR", SIZE, 2),
    ("imdn-bam-x4", "", SIZE, 4),
    ("X3", "", SIZE, 3),
    ("edsr_x2/results", "", SIZE, 2),
    ("made", "", (30, 24), 0),
    ("made", "", (28, 24), 4),
  ],
)
def test_the_scale_is_inferred(tmp_path, hr, folder, suffix, size, scale):
  names = [f"{n}{suffix}" for n in ("baby", "bird")]
  source = lay(tmp_path / folder, *names, size=size)
  if not scale:
    with pytest.raises(UserError, match="sizes fit ×2 and ×3; pass --scale"):
      find_sr_files(source, hr)
    return
  _, sr_files = find_sr_files(source, hr)
  assert sr_files.scale == scale


def test_lr_files_of_one_scale_settle_what_sizes_leave_open(tmp_path, hr):
  lay(hr / "LR_bicubic" / "X2", "babyx2", "birdx2", size=(15, 12))
  source = lay(tmp_path / "made", "baby", "bird", size=(30, 24))
  _, sr_files = find_sr_files(source, hr)
  assert sr_files.scale == 2


def test_likely_scales_settle_what_sizes_leave_open(tmp_path, hr):
  source = lay(tmp_path / "made", "baby", "bird", size=(30, 24))
  for likely in ({3}, {3, 4}):
    assert find_sr_files(source, hr, likely=likely)[1].scale == 3
  for likely in ({2, 3}, {4}):
    with pytest.raises(UserError, match="sizes fit ×2 and ×3; pass --scale"):
      find_sr_files(source, hr, likely=likely)
  # What the names say counts more.
  named = lay(tmp_path / "named", "baby_x2", "bird_x2", size=(30, 24))
  assert find_sr_files(named, hr, likely={3})[1].scale == 2


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
  with pytest.raises(UserError, match="no size fits; pass --scale"):
    find_sr_files(lay(tmp_path / "odd", "baby", size=(29, 9)), hr)
  lr_only = lay(tmp_path / "real" / "LR", "baby").parent
  with pytest.raises(UserError, match="no HR images"):
    find_sr_files(lay(tmp_path / "made", "baby"), lr_only, 4)
  many = tmp_path / "many"
  lay(many / "x2", "baby")
  lay(many / "x4", "baby")
  with pytest.raises(UserError, match="holds images at ×2 and ×4"):
    find_sr_files(many, hr)
