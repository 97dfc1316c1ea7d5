import logging

import numpy as np
from PIL import Image
import pytest

from bamjax.data.test_sets import benchmark_name
from bamjax.data.test_sets import find_benchmark
from bamjax.errors import UserError
from bamjax.images import resize
from shared import needs_shared
from shared import SHARED

HR = np.random.default_rng(0).integers(0, 256, (25, 30, 3), dtype=np.uint8)


def lay(root, *names):
  """Writes images whose LR and HR fit, by what their paths should mean."""
  for name in names:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(HR).save(path)
  return root


def found(folder, scale):
  """Name → (HR, LR), as paths inside the folder."""
  return {
    p.name: tuple(q and q.relative_to(folder).as_posix() for q in (p.hr, p.lr))
    for p in find_benchmark(folder, scale).images
  }


@pytest.mark.parametrize(
  "hr, lr",
  [
    ("HR/baby.png", "LR_bicubic/X2/babyx2.png"),
    ("HR/baby.png", "LR/x2/baby.png"),
    ("HR/baby.bmp", "LR_bicubic_x2/baby.bmp"),
    ("HR/x2/baby_HR_x2.png", "LRBI/x2/baby_LRBI_x2.png"),
    ("baby_HR_x2.png", "baby_LRBI_x2.png"),
    ("GTmod12/baby.png", "LRbicx2/baby.png"),
    ("original/baby.png", "LR_bicubic/X2/baby_LR_x2.png"),
    ("DIV2K_valid_HR/baby.png", "DIV2K_valid_LR_bicubic/X2/babyx2.png"),
    ("image_SRF_2/baby_SRF_2_HR.png", "image_SRF_2/baby_SRF_2_LR.png"),
    ("baby.jpg", "X2/baby.jpg"),
    ("baby.png", "babyx2.png"),
    ("HR/baby.png", None),
    ("baby.bmp", None),
    (None, "LR/baby.png"),
    (None, "LR_bicubic/X2/babyx2.png"),
  ],
)
def test_layouts(tmp_path, hr, lr):
  folder = lay(tmp_path / "Set5", *filter(None, (hr, lr)))
  assert found(folder, 2) == {"baby": (hr, lr)}


def test_other_scales_and_other_images_are_passed_over(tmp_path):
  folder = lay(
    tmp_path,
    "HR/baby.png",
    "LR_bicubic/X2/babyx2.png",
    "LR_bicubic/X3/babyx3.png",
    "LRBD/x3/baby_LRBD_x3.png",
    "SR/baby.png",
    "image_SRF_2/baby_SRF_2_bicubic.png",
    "cover.png",
    ".thumbnails/baby.png",
  )
  assert found(folder, 2) == {
    "baby": ("HR/baby.png", "LR_bicubic/X2/babyx2.png")
  }
  assert found(folder, 3) == {
    "baby": ("HR/baby.png", "LR_bicubic/X3/babyx3.png")
  }
  assert found(folder, 4) == {"baby": ("HR/baby.png", None)}


def test_folders_alone_may_tell_the_scale(tmp_path):
  folder = lay(tmp_path, "HR/a.png", "LR/X2/a.png", "LR/X4/a.png")
  for scale in (2, 4):
    assert found(folder, scale) == {"a": ("HR/a.png", f"LR/X{scale}/a.png")}
  assert found(folder, 3) == {"a": ("HR/a.png", None)}


def test_hr_of_each_scale(tmp_path):
  names = [
    f"image_SRF_{s}/img_001_SRF_{s}_{r}.png"
    for s in (2, 4)
    for r in ("HR", "LR")
  ]
  folder = lay(tmp_path, *names)
  for s in (2, 4):
    stem = f"image_SRF_{s}/img_001_SRF_{s}"
    assert found(folder, s) == {"img_001": (f"{stem}_HR.png", f"{stem}_LR.png")}
  with pytest.raises(UserError, match="no image for ×3"):
    find_benchmark(folder, 3)


def test_names_that_end_like_a_scale_are_names(tmp_path):
  folder = lay(tmp_path, "boxx2.png", "baby.png", "babyx4.png")
  assert found(folder, 2) == {
    "baby": ("baby.png", None),
    "boxx2": ("boxx2.png", None),
  }
  assert found(folder, 4)["baby"] == ("baby.png", "babyx4.png")


def test_what_is_missing_is_told(tmp_path, caplog):
  folder = lay(
    tmp_path, "HR/a.png", "HR/b.png", "LR/X2/ax2.png", "LR/X2/cx2.png"
  )
  with caplog.at_level(logging.WARNING):
    assert set(found(folder, 2)) == {"a", "b"}
  assert "LR of b is made" in caplog.text
  assert "LR of c has no HR" in caplog.text


def test_files_of_one_name_and_two_kinds_are_two_images(tmp_path, caplog):
  folder = lay(tmp_path, "a.jpg", "a.png", "b.png", "bx2.jpg", "bx2.png")
  assert found(folder, 2) == {
    "a": ("a.jpg", None),
    "a.png": ("a.png", None),
    "b": ("b.png", "bx2.jpg"),
  }
  assert "bx2.png (next to" in caplog.text


def test_lr_that_fits_no_hr_is_told(tmp_path, caplog):
  folder = lay(
    tmp_path, *(f"a_{kind}.png" for kind in ("HR", "LR2", "LR3", "crop"))
  )
  assert found(folder, 2) == {"a": ("a_HR.png", "a_LR2.png")}
  assert found(folder, 3) == {"a": ("a_HR.png", "a_LR3.png")}
  assert "ignored 1 image named neither HR nor LR" in caplog.text
  assert "made by bicubic" not in caplog.text
  assert found(folder, 4) == {"a": ("a_HR.png", None)}
  assert "LR (a_crop.png), and LR is made by bicubic" in caplog.text
  lay(tmp_path / "none", "HR/a.png", "LR/X2/img_a.png")
  with pytest.raises(UserError, match="no LR file matches an HR file by name"):
    find_benchmark(tmp_path / "none", 2)


def test_links_are_followed_and_the_rest_is_counted(tmp_path, caplog):
  lay(tmp_path / "elsewhere", "a.png")
  folder = lay(tmp_path / "Set5", "LR/X2/a.png", "one/two/three/four/b.png")
  (folder / "HR").symlink_to(tmp_path / "elsewhere")
  (folder / "LR" / "loop").symlink_to("..")
  (folder / "HR" / "b.png").symlink_to("absent.png")
  (folder / "HR" / "list.txt").touch()
  assert found(folder, 2) == {
    "a": ("HR/a.png", "LR/X2/a.png"),
    "b": ("HR/b.png", None),
  }
  assert "1 .txt, 2 folder(s)" in caplog.text


def test_twins_are_told(tmp_path, caplog):
  folder = lay(tmp_path, "GT/a.png", "HR/a.png", "GT/b.png", "HR/b.png")
  assert found(folder, 2)["a"] == ("GT/a.png", None)
  assert "HR/a.png (next to" in caplog.text and "1 more" in caplog.text


@pytest.mark.parametrize(
  "folder, name",
  [
    ("set5", "Set5"),
    ("B100", "BSD100"),
    ("mine", "mine"),
    ("URBAN100/HR", "Urban100"),
  ],
)
def test_names_of_benchmarks(tmp_path, folder, name):
  assert benchmark_name(tmp_path / folder) == name


def test_images_that_do_not_fit_are_named(tmp_path):
  folder = lay(tmp_path, "HR/a.png", "LR/X2/ax2.png")
  with pytest.raises(UserError, match="ax2.png is 30×25.*do not fit at ×2"):
    find_benchmark(folder, 2).images[0].load()
  Image.fromarray(resize.downscale(HR[:24], 2)).save(folder / "LR/X2/ax2.png")
  lr, hr = find_benchmark(folder, 2).images[0].load()
  assert lr.shape == (12, 15, 3) and hr.shape == HR.shape


def test_folders_without_images_are_refused(tmp_path):
  with pytest.raises(UserError, match="there is no folder"):
    find_benchmark(tmp_path / "absent", 2)
  with pytest.raises(UserError, match="has no image"):
    find_benchmark(tmp_path, 2)


@needs_shared
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_set5(scale):
  benchmark = find_benchmark(SHARED / "benchmarks" / "Set5", scale)
  assert benchmark.name == "Set5"
  names = [p.name for p in benchmark.images]
  assert names == ["baby", "bird", "butterfly", "head", "woman"]
  for image in benchmark.images:
    lr, hr = image.load()
    np.testing.assert_array_equal(
      lr, resize.downscale(resize.mod_crop(hr, scale), scale)
    )
