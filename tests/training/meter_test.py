import time

import pytest

from bamjax.training.meter import Progress


@pytest.fixture
def clock(monkeypatch):
  now = [100.0]
  monkeypatch.setattr(time, "monotonic", lambda: now[0])
  return now


def test_off_a_terminal_lines_have_rate_and_time_left(clock, capsys):
  progress = Progress(start=10, steps=7230)
  clock[0] += 60  # compilation, which is not a step's time
  progress.advance(10)
  for step in (30, 40):
    progress.advance(10)
    clock[0] += 5
    progress.tell(step, "loss 0.1", rate=True)
  progress.tell(40, "PSNR-Y 30 dB")
  progress.close()
  assert capsys.readouterr().out.splitlines() == [
    "step 30/7230  loss 0.1  2 steps/s, 1:00:00 left",
    "step 40/7230  loss 0.1  2 steps/s, 0:59:55 left",
    "step 40/7230  PSNR-Y 30 dB",
  ]


def test_a_first_line_without_a_timed_step_has_no_rate(clock, capsys):
  progress = Progress(start=0, steps=8)
  progress.advance(4)
  progress.tell(4, "loss 0.1", rate=True)
  assert capsys.readouterr().out == "step 4/8  loss 0.1\n"
