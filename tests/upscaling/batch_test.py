"""What can't be read, upscaled or written is skipped."""

import errno
import io
import itertools
import os
from pathlib import Path
import re
import sys
from unittest import mock

import jax
import numpy as np
from PIL import Image
import pytest

import bamjax
from bamjax.errors import UserError
from bamjax.images import image_file
from bamjax.upscaling import batch
from bamjax.upscaling import chosen
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
  monkeypatch.setattr(jobs_lib, "plan_outputs", lambda *_, **__: (jobs, 0))
  assert upscale([folder], weights, tmp_path) == 1
  assert "a.png holds another image's result" in caplog.text
  assert not image_file.read(target).gray


class _Terminal(io.StringIO):
  def isatty(self):
    return True


def _repeat(image, progress):
  """A network that repeats pixels, and is done with 2 tiles of an image."""
  progress(1, 2)
  progress(2, 2)
  return image.repeat(2, 0).repeat(2, 1)


def test_one_bar_counts_the_images_and_pixels_of_all(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(sys, "stderr", terminal := _Terminal())
  jobs = []
  for name, height in (("a", 30), ("b", 10), ("c", 60)):
    path = tmp_path / f"{name}.png"
    Image.new("RGBA", (100, height)).save(path)
    jobs.append((path, tmp_path / "out" / path.name))
  jobs.insert(1, (tmp_path / "absent.png", tmp_path / "out" / "absent.png"))
  assert batch.upscale_files(jobs, chosen.always(_repeat), 2) == 1
  shown = [
    re.match(r"(image \d of \d): +(\d+)%.* ([\d.]+k?)/([\d.]+k) ", line)
    for line in terminal.getvalue().split("\r")
  ]
  # 3,000, 1,000 and 6,000 pixels; where each image begins.
  begun = dict(m.groups()[:1] + (m.groups()[1:],) for m in shown[::-1] if m)
  assert begun == {
    "image 1 of 4": ("0", "0.00", "10.0k"),
    "image 3 of 4": ("30", "3.00k", "10.0k"),
    "image 4 of 4": ("40", "4.00k", "10.0k"),
  }
  # Nothing is printed into the bar.
  assert capsys.readouterr().out.count("\n") == 3


def test_off_a_terminal_there_are_lines_now_and_then(
  tmp_path, monkeypatch, capsys
):
  now = itertools.count(step=20)
  monkeypatch.setattr(batch.time, "monotonic", lambda: next(now))
  Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
  jobs = [(tmp_path / "a.png", tmp_path / "b.png")]

  def upscaler(image, progress):
    for done in range(1, 6):
      progress(done, 5)
    return image.repeat(2, 0).repeat(2, 1)

  assert batch.upscale_files(jobs, chosen.always(upscaler), 2) == 0
  printed = capsys.readouterr()
  assert not printed.err
  assert printed.out.splitlines()[:-1] == [
    "a.png (1/1): tile 2 of 5",
    "a.png (1/1): tile 4 of 5",
  ]


def test_alpha_is_half_of_an_images_progress():
  alpha = np.arange(12, dtype=np.uint8).reshape(3, 4)
  color = np.zeros((3, 4, 3), np.uint8)
  for image, expected in (
    (image_file.ImageData(color, alpha), [(1, 4), (2, 4), (3, 4), (4, 4)]),
    (image_file.ImageData(color, alpha * 0), [(1, 2), (2, 2)]),
    (image_file.ImageData(color), [(1, 2), (2, 2)]),
  ):
    calls = mock.Mock()
    one_image.upscale_image(_repeat, image, calls)
    assert [call.args for call in calls.call_args_list] == expected
