import time

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
