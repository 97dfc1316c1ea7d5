import errno
import os
from pathlib import Path
import runpy
import signal
import stat
import sys
from types import SimpleNamespace

import pytest

from bamjax import files
from bamjax.errors import UserError
from bamjax.files import refuse_overwriting
from bamjax.files import replacing
from bamjax.files import write_atomically

LONGEST = 255  # bytes of a name, on most disks


@pytest.mark.parametrize(
  "way", ["itself", "dots", "link", "hard link", "folder"]
)
def test_what_is_read_is_not_overwritten(tmp_path, way):
  read = tmp_path / "in" / "a.txt"
  write_atomically(read, "a")
  (tmp_path / "link").symlink_to(read)
  os.link(read, tmp_path / "hard")
  target = {
    "itself": read,
    "dots": tmp_path / "in" / ".." / "in" / "a.txt",
    "link": tmp_path / "link",
    "hard link": tmp_path / "hard",
    "folder": read,
  }[way]
  source = tmp_path / "in" if way == "folder" else read
  with pytest.raises(UserError, match="would be written over .*; use another"):
    refuse_overwriting(target, ["absent", source])
  write_atomically(tmp_path / "other", "b")
  refuse_overwriting(tmp_path / "other", [source])
  refuse_overwriting(tmp_path / "in" / "new", [source])


def test_case_is_ignored_if_the_disk_ignores_it(
  tmp_path,
):
  (tmp_path / "a").touch()
  if not (tmp_path / "A").exists():
    pytest.skip("the disk distinguishes case")
  with pytest.raises(UserError):
    refuse_overwriting(tmp_path / "A", [tmp_path / "a"])


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_file_has_the_mode_of_any_new_one(tmp_path, mask):
  before = os.umask(mask)
  try:
    write_atomically(tmp_path / "a", "")
  finally:
    os.umask(before)
  assert stat.S_IMODE(os.stat(tmp_path / "a").st_mode) == 0o666 & ~mask
  os.chmod(tmp_path / "a", 0o600)
  write_atomically(tmp_path / "a", "b")
  assert stat.S_IMODE(os.stat(tmp_path / "a").st_mode) == 0o600


def test_a_link_stays_one(tmp_path):
  (tmp_path / "file").write_text("old")
  (tmp_path / "link").symlink_to("file")
  write_atomically(tmp_path / "link", "new")
  assert (tmp_path / "link").is_symlink()
  assert (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("letter", ["a", "é", "日", "😀"])
def test_names_may_be_as_long_as_the_disk_allows(tmp_path, letter):
  room = LONGEST - len(".png")
  name = letter * (room // len(letter.encode())) + ".png"
  write_atomically(tmp_path / name, "a")
  assert os.listdir(tmp_path) == [name]
  for folder in (tmp_path, tmp_path / "new"):
    with pytest.raises(UserError, match="name too long"):
      write_atomically(folder / (name + letter * 5), "a")
  assert not (tmp_path / "new").exists()
  # An extension that long.
  write_atomically(tmp_path / f"a.{name}"[: len(name)], "a")


def test_names_that_are_not_utf_8_are_written(tmp_path):
  write_atomically(tmp_path / "a", os.fsdecode(b"caf\xe9 \xc3\xa9"))
  assert (tmp_path / "a").read_text("utf-8") == "caf\\udce9 é"


@pytest.mark.timeout(60)  # opening a pipe would wait for ever
def test_what_is_not_a_file_stays(tmp_path):
  os.mkfifo(tmp_path / "pipe")
  for name in (".", "pipe"):
    with pytest.raises(UserError, match="is not a file"):
      write_atomically(tmp_path / name, "a")
  assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)


def test_a_failure_leaves_the_old_file_alone(tmp_path):
  path = tmp_path / "a.txt"
  write_atomically(path, "old")
  with pytest.raises(UserError, match="No space"), replacing(path) as temporary:
    assert temporary.suffix == path.suffix
    raise OSError(28, "No space left on device")
  with pytest.raises(KeyError), replacing(Path(path)):
    raise KeyError
  assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_is_written_is_on_the_disk_before_its_name_is(
  tmp_path, monkeypatch
):
  """Recorded by file, so that a power cut after any call leaves one of both."""
  calls = []
  fsync, replace = os.fsync, os.replace

  def record_fsync(descriptor):
    # Everything has been written by then.
    status = os.fstat(descriptor)
    calls.append(("fsync", status.st_ino, status.st_size))
    fsync(descriptor)

  def record_replace(source, target):
    calls.append(("replace", os.stat(source).st_ino, str(target)))
    replace(source, target)

  monkeypatch.setattr(os, "fsync", record_fsync)
  monkeypatch.setattr(os, "replace", record_replace)
  path = tmp_path / "new" / "a.txt"
  for folders in ([tmp_path / "new", tmp_path], [tmp_path / "new"]):
    calls.clear()
    write_atomically(path, "12345")
    file = os.stat(path).st_ino
    assert [call[:2] for call in calls] == [
      ("fsync", file),
      ("replace", file),
      *(("fsync", os.stat(folder).st_ino) for folder in folders),
    ]
    assert calls[0][2] == 5


def test_the_library_handles_no_signal(tmp_path):
  before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)]
  with replacing(tmp_path / "a.txt"):
    during = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)]
  assert during == before


def test_a_file_that_is_held_has_an_error_of_its_own(tmp_path, monkeypatch):
  path = tmp_path / "a.txt"
  write_atomically(path, "old")
  for number, held in ((errno.EACCES, True), (errno.EROFS, False)):

    def replace(*_, number=number):
      raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(UserError, match="a.txt cannot be ") as caught:
      write_atomically(path, "new")
    assert isinstance(caught.value, files.HeldError) == held
  assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_checking_that_a_file_can_be_written_leaves_it(tmp_path):
  write_atomically(tmp_path / "a", "a")
  files.check_writable(tmp_path / "a")
  files.check_writable(tmp_path / "new" / "b")
  assert (tmp_path / "a").read_text() == "a"
  assert not list((tmp_path / "new").iterdir())
  with pytest.raises(UserError, match="cannot be written"):
    files.check_writable(tmp_path / "a" / "b")


def test_json_has_null_for_what_is_not_finite():
  value = {"a": [1, float("inf")], "b": (float("nan"), "x"), "c": None}
  assert files.to_json(value) == '{"a": [1, null], "b": [null, "x"], "c": null}'


def test_one_process_at_a_time_holds_a_lock(tmp_path):
  with (tmp_path / "lock").open("w") as first:
    assert files.lock(first, wait=False)
    with (tmp_path / "lock").open("w") as second:
      assert not files.lock(second, wait=False)
  with (tmp_path / "lock").open("w") as third:
    assert files.lock(third, wait=True)


def test_a_lock_leaves_what_it_is_a_link_to(tmp_path):
  (tmp_path / "precious").write_text("text")
  (tmp_path / "lock").symlink_to("precious")
  with files.open_lock(tmp_path / "lock") as file:
    assert files.lock(file, wait=False)
    with files.open_lock(tmp_path / "lock") as second:
      assert not files.lock(second, wait=False)
  assert (tmp_path / "precious").read_text() == "text"


def test_a_lock_of_another_user_locks(tmp_path, monkeypatch):
  path = tmp_path / "lock"
  path.touch()
  real = os.open

  def open_as_another(name, flags, *mode):
    if flags & (os.O_RDWR | os.O_CREAT):
      raise PermissionError(errno.EACCES, "Permission denied", str(name))
    return real(name, flags, *mode)

  monkeypatch.setattr(os, "open", open_as_another)
  with files.open_lock(path) as file, path.open() as other:
    assert files.lock(file, wait=False)
    assert not files.lock(other, wait=False)


def test_locks_on_windows(tmp_path, monkeypatch):
  answers = [OSError(errno.EDEADLK, ""), OSError(errno.EACCES, ""), None]
  kinds = []

  def locking(descriptor, kind, count):
    kinds.append(kind)
    if answer := answers.pop():
      raise answer

  msvcrt = SimpleNamespace(LK_LOCK="wait", LK_NBLCK="try", locking=locking)
  monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
  monkeypatch.setattr(sys, "platform", "win32")
  there = runpy.run_path(files.__file__)
  with (tmp_path / "lock").open("w") as file:
    assert there["lock"](file, wait=False)
    assert not there["lock"](file, wait=False)
    answers[:0] = [None]
    assert there["lock"](file, wait=True)
  assert kinds == ["try", "try", "wait", "wait"]
