import os
import sys
import termios
import time

import pytest

from bamjax import progress


def test_lines_come_now_and_then_off_a_terminal(monkeypatch, capsys):
  now = iter(range(0, 1000, 20))
  monkeypatch.setattr(time, "monotonic", lambda: next(now))
  assert list(progress.each("abcdef", "image", about="Set5: ")) == [*"abcdef"]
  # Looked at after 20, 40, … seconds.
  assert capsys.readouterr().err.splitlines() == [
    "Set5: 1 of 6 images, 0:03:20 left",
    "Set5: 3 of 6 images, 0:01:20 left",
    "Set5: 5 of 6 images, 0:00:24 left",
  ]


def test_quick_work_says_nothing(capsys):
  assert list(progress.each([1, 2], "row")) == [1, 2]
  assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("columns", [0, 40])
def test_a_terminal_of_any_width_has_a_bar(monkeypatch, columns):
  ours, theirs = os.openpty()
  termios.tcsetwinsize(theirs, (24, columns))
  with os.fdopen(theirs, "w") as terminal, os.fdopen(ours, "rb") as screen:
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(progress.each([1, 2], "image", names="ab")) == [1, 2]
    terminal.write("end")
    terminal.flush()
    shown = os.read(screen.fileno(), 10_000).decode()
  assert "0/2 [" in shown
  width = columns or 80
  assert max(len(line) for line in shown.split("\r")) in range(width - 5, width)
