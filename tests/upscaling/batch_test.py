"""What can't be read, upscaled or written is skipped."""

import errno
import os
from pathlib import Path

import jax
import numpy as np
from PIL import Image
import pytest

import bamjax
from bamjax.errors import UserError
from bamjax.images import image_file
from bamjax.upscaling import jobs as jobs_lib
from bamjax.upscaling import one_image
from upscaling.calls import RGB
from upscaling.calls import size
from upscaling.calls import upscale


@pytest.mark.timeout(60)  # opening a pipe would wait for ever
def test_dangling_links_are_skipped(weights, tmp_path, caplog):
  folder = tmp_path / "in"
  (folder / "inner").mkdir(parents=True)
  Image.fromarray(RGB).save(folder / "rgb.png")
  (folder / "dangling.png").symlink_to("absent.png")
  os.mkfifo(folder / "fifo.png")
  for inputs in ([folder], [folder / "*"], sorted(folder.glob("*.png"))):
    caplog.clear()
    assert upscale(inputs, weights, tmp_path / "out") == 1
    assert "left out: " in caplog.text and "dangling.png" in caplog.text
    assert "fifo.png cannot be read" in caplog.text
    assert size(tmp_path / "out" / "rgb_x2.png") == (60, 42)


def test_missing_files_are_skipped(
  folder, weights, tmp_path, monkeypatch, caplog
):
  # As of a folder that is closed to us; root may look into any.
  real = os.stat

  def stat(path, *args, **kwargs):
    if "closed" in str(path):
      raise PermissionError(13, "Permission denied", str(path))
    return real(path, *args, **kwargs)

  monkeypatch.setattr(os, "stat", stat)
  names = ["absent.png", "closed/a.png", "a" * 300 + ".png", "rgb.png/b.png"]
  inputs = [*(folder / name for name in names), folder / "rgb.png"]
  assert upscale(inputs, weights, tmp_path / "out") == 1
  assert os.listdir(tmp_path / "out") == ["rgb_x2.png"]
  assert "there is no file" in caplog.text and "absent.png" in caplog.text
  assert "closed/a.png cannot be read" in caplog.text
  assert caplog.text.count("left out: ") == 4


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSPC])
def test_only_the_result_that_is_held_is_skipped(
  folder, weights, tmp_path, monkeypatch, caplog, number
):
  real = os.replace

  def replace(source, target):
    if Path(target).name == "gray_x2.png":
      raise OSError(number, os.strerror(number))
    real(source, target)

  monkeypatch.setattr(os, "replace", replace)
  inputs = [folder / "gray.png", folder / "rgb.png"]
  out = tmp_path / "out"
  if number == errno.ENOSPC:  # which others' results would have no place for
    with pytest.raises(UserError, match="gray_x2.png cannot be written: No sp"):
      upscale(inputs, weights, out)
    assert os.listdir(out) == []
  else:
    assert upscale(inputs, weights, out) == 1
    assert "gray_x2.png cannot be replaced: Operation not" in caplog.text
    assert os.listdir(out) == ["rgb_x2.png"]


def test_a_folder_in_the_place_of_a_result_is_not_one(
  folder, weights, tmp_path, caplog
):
  (tmp_path / "out" / "rgb_x2.png").mkdir(parents=True)
  inputs, out = [folder / "rgb.png"], tmp_path / "out"
  assert upscale(inputs, weights, out, skip_existing=True) == 1
  assert "rgb_x2.png is not a file" in caplog.text


def test_only_what_cannot_be_written_is_skipped(
  folder, weights, tmp_path, monkeypatch, caplog, capsys
):
  rgb = folder / "rgb.png"
  # Whose result has too long a name, one a letter shorter, one as long as may
  # be, too large a result, and another thing in its place.
  names = [f"{'a' * length}.png" for length in (250, 249, 248)]
  for name in names:
    (folder / name).write_bytes(rgb.read_bytes())
  Image.fromarray(RGB).save(folder / "wide.webp")
  out = tmp_path / "out"
  (out / "photo_x2.JPG").mkdir(parents=True)
  monkeypatch.setitem(image_file._LONGEST, "WEBP", 59)
  inputs = [*(folder / n for n in (*names, "wide.webp", "photo.JPG")), rgb]
  assert upscale(inputs, weights, out) == 1
  made = [n for n in sorted(os.listdir(out)) if (out / n).is_file()]
  assert made == [f"{'a' * 248}_x2.png", "rgb_x2.png"]
  assert caplog.text.count("File name too long") == 2
  assert "wide_x2.webp: WEBP allows at most 59 pixels per side" in caplog.text
  assert "photo_x2.JPG is not a file" in caplog.text
  assert "4 of 6 images left out" in capsys.readouterr().err


def test_only_what_does_not_fit_in_memory_is_skipped(
  folder, weights, tmp_path, monkeypatch, caplog
):
  real = one_image.upscale_image

  def fill(upscaler, image, progress):
    if image.gray:
      raise MemoryError
    return real(upscaler, image, progress)

  monkeypatch.setattr(one_image, "upscale_image", fill)
  inputs = [folder / "gray.png", folder / "rgb.png"]
  assert upscale(inputs, weights, tmp_path / "out") == 1
  assert "gray.png does not fit in memory" in caplog.text
  assert os.listdir(tmp_path / "out") == ["rgb_x2.png"]


def test_a_network_that_overflows_writes_nothing(
  folder, weights, tmp_path, caplog, recwarn
):
  module, variables = bamjax.load_weights(weights)
  path = tmp_path / "large.safetensors"
  large = jax.tree.map(lambda x: np.full_like(x, 1e30), variables)
  bamjax.save_weights(path, module, large)
  inputs = [folder / "rgb.png", folder / "gray.png"]
  assert upscale(inputs, str(path), tmp_path / "out") == 1
  for source in inputs:
    assert f"left out: {source}: the network's output is not" in caplog.text
  assert not list(tmp_path.glob("out/*"))
  assert not [w for w in recwarn if w.category is RuntimeWarning]


def test_a_result_is_not_overwritten_by_another(
  folder, weights, tmp_path, monkeypatch, caplog
):
  # As where a disk takes A.png and a.png for one, which is not known before.
  target = tmp_path / "a.png"
  jobs = [(folder / "rgb.png", target), (folder / "gray.png", target)]
  monkeypatch.setattr(jobs_lib, "plan_outputs", lambda *_, **__: jobs)
  assert upscale([folder], weights, tmp_path) == 1
  assert "a.png holds another image's result" in caplog.text
  assert not image_file.read(target).gray
