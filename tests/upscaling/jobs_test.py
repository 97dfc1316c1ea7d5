"""Which images are upscaled, and to which files."""

import os
from pathlib import Path

from PIL import Image
import pytest

from bamjax.errors import UserError
from bamjax.images import image_file
from bamjax.upscaling import jobs as jobs_lib
from upscaling.calls import RGB
from upscaling.calls import size
from upscaling.calls import upscale


def test_results_are_named_after_the_flags(
  folder, weights, tmp_path, monkeypatch
):
  monkeypatch.chdir(folder)
  upscale(["rgb.png"], weights, tmp_path / "one.jpg")
  assert size(tmp_path / "one.jpg") == (60, 42)
  upscale(
    ["*gb.png", "rgb.png"], weights, tmp_path / "o", ext="tif", suffix="big"
  )
  assert os.listdir(tmp_path / "o") == ["rgb_big.tif"]
  upscale(["gray.png"], weights, tmp_path / "o", suffix="")
  assert (tmp_path / "o" / "gray.png").exists()


def test_a_name_that_ends_in_a_slash_is_a_folder(folder, weights, tmp_path):
  upscale([folder / "rgb.png"], weights, f"{tmp_path}/out.png/")
  assert size(tmp_path / "out.png" / "rgb_x2.png") == (60, 42)


def test_a_file_with_several_spellings_is_one_input(
  folder, tmp_path, monkeypatch
):
  monkeypatch.chdir(folder)
  (tmp_path / "way").symlink_to(folder)
  (folder / "link.png").symlink_to("rgb.png")
  names = ["rgb.png", "../in/rgb.png", folder / "rgb.png", "../way/rgb.png"]
  found, empty = jobs_lib.find_inputs(
    [*map(str, names), "link.png", "gray.png"]
  )
  assert not empty
  assert found == [Path(n) for n in ("rgb.png", "link.png", "gray.png")]


def test_an_empty_folder_among_others_is_named_and_left_out(
  folder, tmp_path, caplog
):
  (tmp_path / "empty").mkdir()
  nothing = [str(tmp_path / "empty"), str(tmp_path / "*.none")]
  image = str(folder / "rgb.png")
  assert jobs_lib.find_inputs([nothing[0], image, nothing[1]]) == (
    [Path(image)],
    2,
  )
  assert "left out: the folder" in caplog.text
  assert "left out: there is no file, folder or match of" in caplog.text
  for alone in (nothing, nothing[1:], [nothing[0], "absent.png"]):
    with pytest.raises(UserError, match="holds no image|no file, folder"):
      jobs_lib.find_inputs(alone)


def test_results_are_overwritten_or_skipped(folder, weights, tmp_path, capsys):
  inputs = [folder / "rgb.png", folder / "gray.png"]
  old = tmp_path / "out.v2" / "rgb_x2.png"
  old.parent.mkdir()
  before = Image.new("RGB", (60, 42))
  before.save(old)
  options = {"output": f"{old.parent}/", "skip_existing": True}
  assert upscale(inputs, weights, **options) == 0
  assert "1 of 2 images: has a result, skipped" in capsys.readouterr().out
  assert image_file.read(old).color.max() == 0
  assert size(old.with_name("gray_x2.png")) == (60, 42)
  assert upscale(inputs[:1], weights, old.parent) == 0
  assert image_file.read(old).color.max() > 0


@pytest.mark.parametrize("content", ["empty", "text", "cut", "small"])
def test_only_a_result_is_skipped(folder, tmp_path, content):
  """It can be opened and has the right size, also of a turned photograph."""
  photo, result = folder / "turned.jpg", tmp_path / "turned_x2.png"
  exif = Image.Exif()
  exif[0x0112] = 6
  Image.fromarray(RGB).save(photo, exif=exif)  # 30×21, shown as 21×30
  Image.new("RGB", (42, 60)).save(result)
  jobs = [(photo, result), (folder / "gray.png", tmp_path / "gray_x2.png")]
  assert jobs_lib.without_existing(jobs, 2) == (jobs[1:], [])
  assert jobs_lib.without_existing(jobs, 3) == (jobs, [result])
  if content == "small":
    Image.new("RGB", (60, 42)).save(result)
  else:
    data = {"empty": b"", "text": b"old", "cut": result.read_bytes()[:20]}
    result.write_bytes(data[content])
  assert jobs_lib.without_existing(jobs, 2) == (jobs, [result])


def test_a_damaged_result_is_made_again(folder, weights, tmp_path, capsys):
  result = tmp_path / "rgb_x2.png"
  result.touch()
  inputs, options = [folder / "rgb.png"], {"skip_existing": True}
  assert upscale(inputs, weights, tmp_path, **options) == 0
  printed = capsys.readouterr().out
  assert "0 of 1 image: has a result, skipped" in printed
  assert f"{result} is damaged, or of another size: made again" in printed
  assert size(result) == (60, 42)


def test_an_input_in_the_place_of_a_result_is_not_overwritten(folder, tmp_path):
  Image.fromarray(RGB).save(folder / "rgb_x2.png")  # of another size
  sources = [folder / "rgb.png", folder / "rgb_x2.png"]
  plan = {"output": str(folder), "skip_existing": True}
  with pytest.raises(
    UserError, match="written over the input .*rgb_x2.png; us"
  ):
    jobs_lib.plan_outputs(sources, 2, **plan)
  Image.new("RGB", (60, 42)).save(folder / "rgb_x2.png")
  planned = jobs_lib.plan_outputs(sources, 2, **plan)
  assert planned == ([(sources[0], sources[1])], 0)


def test_only_images_with_the_same_result_are_refused(
  folder, weights, tmp_path, caplog, capsys
):
  Image.fromarray(RGB).save(folder / "rgb.jpg")
  out = tmp_path / "out"
  inputs = [folder / name for name in ("rgb.jpg", "rgb.png", "gray.png")]
  assert upscale(inputs, weights, out, ext="png") == 1
  assert os.listdir(out) == ["gray_x2.png"]
  both = f"left out: {inputs[0]} and {inputs[1]} would be written to one file"
  assert both in caplog.text
  assert "2 of 3 images left out" in capsys.readouterr().err
  # Nothing is left to do.
  with pytest.raises(UserError, match="written to one file, .*/rgb_x2.png; "):
    upscale(inputs[:2], weights, out, ext="png")


def test_results_among_the_inputs_are_not_overwritten(
  folder, weights, tmp_path, capsys
):
  for name in os.listdir(folder):
    if name != "rgb.png":
      os.remove(folder / name)
  assert upscale([folder], weights, folder) == 0
  result = folder / "rgb_x2.png"
  before = result.read_bytes()
  with pytest.raises(UserError, match=r"over the input \S+/rgb_x2.png; .*skip"):
    upscale([folder], weights, folder)
  Image.fromarray(RGB).save(folder / "new.png")
  # The result of a result, as older runs may have left it.
  (folder / "rgb_x2_x2.png").write_text("old")
  assert upscale([folder], weights, folder, skip_existing=True) == 0
  printed = capsys.readouterr().out
  assert "2 of 4 images: results of others, skipped" in printed
  assert "1 of 2 images: has a result, skipped" in printed
  assert result.read_bytes() == before
  assert (folder / "rgb_x2_x2.png").read_text() == "old"
  assert size(folder / "new_x2.png") == (60, 42)
  with pytest.raises(UserError, match="would be written over"):
    upscale([folder], weights, folder, skip_existing=True, suffix="")


def test_weights_are_not_overwritten(folder, weights, tmp_path):
  mine = tmp_path / "mine.png"
  mine.write_bytes(Path(weights).read_bytes())
  for skip in (False, True):
    with pytest.raises(UserError, match="mine.png, which is read"):
      upscale([folder / "rgb.png"], str(mine), mine, skip_existing=skip)
  assert mine.read_bytes() == Path(weights).read_bytes()


@pytest.mark.parametrize("name", ["日" * 80, "😀" * 60, "caf\udce9"])
def test_names_in_any_script(folder, weights, tmp_path, name):
  os.replace(folder / "rgb.png", folder / f"{name}.png")
  upscale([folder / f"{name}.png"], weights, tmp_path / "out")
  assert os.listdir(tmp_path / "out") == [f"{name}_x2.png"]
