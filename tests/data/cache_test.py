import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest

from bamjax.data import cache
from bamjax.data import sources
from bamjax.errors import UserError
from bamjax.files import lock
from bamjax.files import open_lock
from bamjax.images import resize
from bamjax.memory import Memory


def image(seed, height=26, width=33):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
  path = tmp_path / "images"
  path.mkdir()
  for n in range(6):
    Image.fromarray(image(n, 24 + 2 * n)).save(path / f"{n}.png")
  (path / "text.png").write_text("not an image")
  return path


def images(folder, scale=2):
  """All of a folder's but the first, which is for validation."""
  return sources.make_source("folder", scale, data_dir=str(folder)).train


def check(decoded, folder, scale=2):
  assert decoded.names == ["1", "2", "3", "4", "5"]
  for name, (lr, hr) in zip(decoded.names, decoded.pairs, strict=True):
    n = int(name)
    expected = resize.mod_crop(image(n, 24 + 2 * n), scale)
    np.testing.assert_array_equal(hr, expected)
    np.testing.assert_array_equal(lr, resize.downscale(expected, scale))
  assert len(decoded.left_out) == 1 and "text.png" in decoded.left_out[0]


def files(path):
  return sorted(path.glob("*.images"))


def no_decoding(monkeypatch):
  """Lets only what could not be read be read again."""
  read = sources.rgb.read_rgb

  def fail(path):
    if path.name == "text.png":
      return read(path)
    raise AssertionError(f"{path} is read again")

  monkeypatch.setattr(sources.rgb, "read_rgb", fail)


def test_images_stay_in_memory_by_default(folder, tmp_path):
  decoded = cache.decode(images(folder), spill_dir=tmp_path / "spill")
  check(decoded, folder)
  assert not decoded.mapped
  assert not (tmp_path / "spill").exists()


def test_a_cache_is_made_once_and_then_mapped(folder, tmp_path, monkeypatch):
  where = tmp_path / "cache"
  first = cache.decode(images(folder), cache_dir=where)
  check(first, folder)
  assert first.mapped
  found = images(folder)
  no_decoding(monkeypatch)
  again = cache.decode(found, cache_dir=where)
  check(again, folder)
  assert again.nbytes == sum(a.nbytes + b.nbytes for a, b in again.pairs) > 0
  # What is let go comes back when it is looked at.
  again.count_cut(10_000)
  check(again, folder)
  # Only the file, and its lock, are left.
  assert len(list(where.iterdir())) == 2


def test_images_that_do_not_fit_go_to_a_file(
  folder, tmp_path, monkeypatch, caplog
):
  one = 24 * 32 * 3
  small = Memory(total=64 * one, available=4 * one)
  monkeypatch.setattr(cache, "host_memory", lambda: small)
  spill = tmp_path / "run" / "cache"
  decoded = cache.decode(images(folder), spill_dir=spill)
  check(decoded, folder)
  assert decoded.mapped and len(files(spill)) == 1
  assert str(spill) in caplog.text
  found = images(folder)
  no_decoding(monkeypatch)
  check(cache.decode(found, spill_dir=spill), folder)


@pytest.mark.parametrize("change", ["content", "scale", "more"])
def test_a_changed_source_gets_a_file_of_its_own(folder, tmp_path, change):
  where = tmp_path / "cache"
  cache.decode(images(folder), cache_dir=where)
  scale = 2
  if change == "content":
    Image.fromarray(255 - image(1)).save(folder / "1.png")
  elif change == "more":
    Image.fromarray(image(9)).save(folder / "9.png")
  else:
    scale = 3
  decoded = cache.decode(images(folder, scale), cache_dir=where)
  assert len(files(where)) == 2
  expected = [p.load() for p in images(folder, scale) if p.name != "text"]
  for pair, found in zip(expected, decoded.pairs, strict=True):
    np.testing.assert_array_equal(pair[0], found[0])


@pytest.mark.parametrize("keep", [0, 7, 0.5, -1, "garbage", "nested"])
def test_a_damaged_file_is_made_anew(folder, tmp_path, keep, caplog):
  where = tmp_path / "cache"
  cache.decode(images(folder), cache_dir=where)
  (file,) = files(where)
  data = file.read_bytes()
  if keep == "garbage":
    file.write_bytes(bytes(len(data)))
  elif keep == "nested":
    index = b"[" * 10**5
    tail = cache._TAIL.pack(len(index), cache._MARK)
    file.write_bytes(index + tail)
  else:
    file.write_bytes(data[: int(keep * len(data)) if keep == 0.5 else keep])
  check(cache.decode(images(folder), cache_dir=where), folder)
  assert "rebuilding it" in caplog.text
  assert file.read_bytes() == data


@pytest.mark.parametrize("change", ["empty", "fewer", "twice"])
def test_an_index_that_leaves_images_out_is_made_anew(
  folder, tmp_path, change, caplog
):
  where = tmp_path / "cache"
  cache.decode(images(folder), cache_dir=where)
  (file,) = files(where)
  data = file.read_bytes()
  length, mark = cache._TAIL.unpack(data[-cache._TAIL.size :])
  start = len(data) - cache._TAIL.size - length
  index = json.loads(data[start : start + length])
  rows = index["images"]
  index["images"] = {
    "empty": [],
    "fewer": rows[1:],
    "twice": [rows[0], *rows[:-1]],
  }[change]
  text = json.dumps(index).encode()
  file.write_bytes(data[:start] + text + cache._TAIL.pack(len(text), mark))
  check(cache.decode(images(folder), cache_dir=where), folder)
  assert "rebuilding it" in caplog.text
  assert file.read_bytes() == data


def test_digests_tell_contents_in_memory_and_in_a_file(folder, tmp_path):
  where = {"cache_dir": tmp_path / "cache"}
  first = cache.decode(images(folder)).digests
  assert first == cache.decode(images(folder), **where).digests
  assert first == cache.decode(images(folder), **where).digests
  assert len(set(first)) == 5
  # One value of one pixel more.
  changed = image(3, 30)
  changed[-2, 4, 1] ^= 1
  Image.fromarray(changed).save(folder / "3.png")
  found = cache.decode(images(folder)).digests
  assert [a == b for a, b in zip(first, found, strict=True)] == [
    *(True, True, False, True, True)
  ]


def _build(folder, where, results):
  decoded = cache.decode(images(folder), cache_dir=where)
  results.put([hr.tobytes() for _, hr in decoded.pairs])


def test_two_processes_can_build_it_at_once(folder, tmp_path):
  context = multiprocessing.get_context("spawn")
  results = context.Queue()
  args = (folder, tmp_path / "cache", results)
  builders = [context.Process(target=_build, args=args) for _ in range(2)]
  for builder in builders:
    builder.start()
  one, two = results.get(timeout=60), results.get(timeout=60)
  for builder in builders:
    builder.join()
  assert one == two and len(one) == 5
  assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_full_disk_leaves_nothing_behind(folder, tmp_path, monkeypatch):
  def full(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  monkeypatch.setattr(os, "replace", full)
  with pytest.raises(UserError, match="No space left.*--cache_dir"):
    cache.decode(images(folder), cache_dir=tmp_path / "cache")
  assert [p.suffix for p in (tmp_path / "cache").iterdir()] == [".lock"]


def test_an_image_that_vanished_is_left_out(folder):
  found = images(folder)
  (folder / "3.png").unlink()
  decoded = cache.decode(found)
  assert decoded.names == ["1", "2", "4", "5"]
  assert any("3.png" in line for line in decoded.left_out)


def test_an_error_is_not_remembered(folder, tmp_path, monkeypatch, caplog):
  where = tmp_path / "cache"
  read = sources.rgb.read_rgb

  def fail_once(path):
    if path.name == "3.png":
      raise UserError(f"{path} cannot be read (Input/output error)")
    return read(path)

  with monkeypatch.context() as patch:
    patch.setattr(sources.rgb, "read_rgb", fail_once)
    decoded = cache.decode(images(folder), cache_dir=where)
    assert decoded.names == ["1", "2", "4", "5"]
    assert len(decoded.left_out) == 2
  check(cache.decode(images(folder), cache_dir=where), folder)
  assert "lacks 3, which can be read now" in caplog.text
  no_decoding(monkeypatch)
  check(cache.decode(images(folder), cache_dir=where), folder)


def test_another_user_reads_what_it_may_not_write(
  folder, tmp_path, monkeypatch
):
  where = tmp_path / "cache"
  cache.decode(images(folder), cache_dir=where)

  def refuse(*args):
    raise PermissionError(errno.EACCES, "Permission denied")

  monkeypatch.setattr(cache, "open_lock", refuse)
  check(cache.decode(images(folder), cache_dir=where), folder)
  with pytest.raises(UserError, match="denied; use another --cache_dir"):
    cache.decode(images(folder, 3), cache_dir=where)


def test_a_lock_leaves_what_it_is_a_link_to(folder, tmp_path):
  where = tmp_path / "cache"
  cache.decode(images(folder), cache_dir=where)
  (file,) = files(where)
  file.unlink()
  (tmp_path / "precious").write_text("text")
  file.with_suffix(".lock").unlink()
  file.with_suffix(".lock").symlink_to(tmp_path / "precious")
  cache.decode(images(folder), cache_dir=where)
  assert (tmp_path / "precious").read_text() == "text"


_KILLED = """
import os, signal, sys, threading
from pathlib import Path
from bamjax.commands import process
from bamjax.data import cache, sources

signal.signal(signal.SIGTERM, signal.SIG_DFL)  # may be ignored
process.handle_signals()
where, number = Path(sys.argv[2]), int(sys.argv[3])
images = sources.make_source("folder", 2, data_dir=sys.argv[1]).train
read = cache.digest

def end_late(pair):  # when the first images are in the part
  if len(list(where.glob(".*.images"))) and end_late.left == 0:
    os.kill(os.getpid(), number)
  end_late.left -= 1
  return read(pair)

end_late.left = 4
cache.digest = end_late
cache.decode(images, cache_dir=where)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_a_killed_process_leaves_no_part_for_ever(folder, tmp_path, name):
  where, number = tmp_path / "cache", int(getattr(signal, name))
  args = [sys.executable, "-c", _KILLED, folder, where, str(number)]
  done = subprocess.run(args, capture_output=True, text=True)
  assert done.returncode == -number, done.stderr
  parts = list(where.glob(".*.images"))
  # SIGKILL leaves one, which the next that writes there removes: the same
  # images' or others'.
  assert len(parts) == (name == "SIGKILL")
  for scale in (3, 2):
    cache.decode(images(folder, scale), cache_dir=where)
    assert not list(where.glob(".*.images"))


def test_the_part_of_a_living_process_stays(folder, tmp_path):
  where = tmp_path / "cache"
  where.mkdir()
  part = where / f".{'0a' * 10}{'1' * 12}.images"
  part.touch()
  with open_lock(where / f"{'0a' * 10}.lock") as file:
    assert lock(file, wait=False)
    cache.decode(images(folder), cache_dir=where)
    assert part.exists()
  cache.decode(images(folder, 3), cache_dir=where)
  assert not part.exists()
