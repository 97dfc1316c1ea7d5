"""Two processes that train one network."""

import shutil
import signal
import socket
import time

from PIL import Image
import pytest

from scripts import newest
from scripts import rows


def together(start, run_dir, steps, *flags):
  """Two processes that train one network, the second with more flags."""
  with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    port = found.getsockname()[1]
  joined = [f"--coordinator=127.0.0.1:{port}", "--num_processes=2"]
  more = [[], flags]
  return [
    start(run_dir, steps, *joined, f"--process_id={i}", *more[i])
    for i in range(2)
  ]


@pytest.mark.slow
@pytest.mark.parametrize("told", [0, 1])  # process 0 writes the run's files
def test_two_processes_stop_together_and_go_on(start, tmp_path, told):
  code, _, err = start(tmp_path / "one", 120).finish()
  assert code == 0, err
  run_dir = tmp_path / "two"
  processes = together(start, run_dir, 120)
  while newest(run_dir) < 20 and processes[0].running():
    time.sleep(0.01)
  # The scheduler tells one of them only.
  processes[told].send_signal(signal.SIGTERM)
  for process in processes:
    code, out, err = process.finish()
    assert code == 143, err
  stopped = newest(run_dir)
  assert 20 <= stopped < 120
  for process in together(start, run_dir, 120):
    code, out, err = process.finish()
    assert code == 0, err
    if "resuming" in out:
      assert f"from step {stopped} of 120" in out
  ours, theirs = rows(run_dir), rows(tmp_path / "one")
  assert [r["step"] for r in ours] == [r["step"] for r in theirs]
  for a, b in zip(ours, theirs, strict=True):
    assert a == pytest.approx(b, rel=2e-3)


@pytest.mark.slow
def test_two_processes_are_refused_together(start, tmp_path):
  code, _, err = start(tmp_path / "run", 4).finish()
  assert code == 0, err
  first, second = together(start, tmp_path / "run", 8)
  for process, word in (
    (first, "steps: 4 there, 8 now"),
    (second, "process 0 failed: "),
  ):
    code, _, err = process.finish()
    assert code == 2, err
    assert word in err and "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_other_and_one_alone_resumes(
  start, tmp_path, lost
):
  code, _, err = start(tmp_path / "one", 60).finish()
  assert code == 0, err
  run_dir = tmp_path / "two"
  processes = together(start, run_dir, 60)
  while newest(run_dir) < 8 and processes[0].running():
    time.sleep(0.01)
  processes[lost].send_signal(signal.SIGKILL)
  began = time.monotonic()
  assert processes[lost].finish().code == -signal.SIGKILL
  code, _, err = processes[1 - lost].finish()
  assert time.monotonic() - began < 60  # as the documentation says
  assert code == 128 + signal.SIGTERM, err
  stopped = newest(run_dir)
  assert 8 <= stopped < 60
  (line,) = [line for line in err.splitlines() if "error:" in line]
  assert f"process {lost} of the 2 is lost; the same command" in line
  assert line.endswith(f"resumes from step {stopped}")
  assert "Traceback" not in err
  code, out, err = start(run_dir, 60).finish()
  assert code == 0, err
  assert f"from step {stopped} of 60" in out
  ours, theirs = rows(run_dir), rows(tmp_path / "one")
  assert [r["step"] for r in ours] == [r["step"] for r in theirs]
  for a, b in zip(ours, theirs, strict=True):
    assert a == pytest.approx(b, rel=2e-3)


@pytest.fixture
def other_images(photographs, tmp_path):
  """Images of the same names, one of them with another pixel."""
  shutil.copytree(photographs, tmp_path / "other")
  file = tmp_path / "other" / "coffee.png"
  with Image.open(file) as image:
    image.load()
  image.putpixel((0, 0), (1, 2, 3))
  image.save(file)
  return tmp_path / "other"


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (
      ["--seed=1", "--steps=6", "--config.optim.learning_rate=0.01"],
      ["seed is 1 on process 1, 0 on process 0", "steps is 6", "learning_rate"],
    ),
    pytest.param(
      ["--batch_size=8", "--degradation=noise"],
      ["batch_size", "degradation"],
      marks=pytest.mark.slow,
    ),
    pytest.param(["--run_dir=elsewhere"], ["run_dir"], marks=pytest.mark.slow),
    pytest.param(
      ["--data_dir={other}"],
      ["training images is", "data.data_dir"],
      marks=pytest.mark.slow,
    ),
    pytest.param(
      ["--val_dir={other}"],
      ["the validation image coffee is another"],
      marks=pytest.mark.slow,
    ),
    pytest.param(
      ["--data_dir={empty}"], ["holds no image"], marks=pytest.mark.slow
    ),
    pytest.param(["--options=blocks"], ["FIELD=VALUE"], marks=pytest.mark.slow),
  ],
)
def test_processes_of_other_flags_or_images_stop_before_the_first_step(
  start, tmp_path, other_images, flags, words
):
  (tmp_path / "empty").mkdir()
  places = {"other": other_images, "empty": tmp_path / "empty"}
  flags = [flag.format(**places) for flag in flags]
  began = time.monotonic()
  for process in together(start, tmp_path / "run", 4, *flags):
    code, _, err = process.finish()
    assert code == 2, err
    assert "Traceback" not in err
    (line,) = [line for line in err.splitlines() if "error:" in line]
    for word in words:
      assert word in line
  assert time.monotonic() - began < 60
  assert not (tmp_path / "run" / "metrics.jsonl").exists()
