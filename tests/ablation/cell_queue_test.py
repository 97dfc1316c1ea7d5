import os
import signal
import sys
import threading
import time

import pytest

from bamjax.ablation import worker_process
from bamjax.ablation.cell_queue import CellQueue
from bamjax.ablation.cell_queue import Job
from bamjax.ablation.cell_states import Task
from bamjax.ablation.worker_process import reason
from bamjax.ablation.worker_process import Workers

# A worker whose cell's folder says what it does.
_WORKER = """
import json, os, sys, time, signal
task = json.load(sys.stdin)
what = task["folder"]
print("works on", what, os.environ.get("CUDA_VISIBLE_DEVICES", "-"))
if what == "bad":
  print("worker.py: error: it is broken", file=sys.stderr)
  sys.exit(2)
if what == "slow":
  def stop(*_):
    print("saved")
    sys.exit(143)
  signal.signal(signal.SIGTERM, stop)
  print("ready")
  time.sleep(60)
"""
WORKERS = Workers([sys.executable, "-c", _WORKER])


def queue(tmp_path, names, slots=({},), show=None):
  jobs = [
    Job(f"cell-{i}", Task({}, n, [], "", []), 1.0) for i, n in enumerate(names)
  ]
  lines = []
  return CellQueue(jobs, WORKERS, slots, tmp_path, show or lines.append), lines


def test_a_cell_that_fails_does_not_end_the_work(tmp_path):
  work, lines = queue(tmp_path, ["good", "bad", "good"])
  work.run()
  assert work.failures == {"cell-1": "it is broken"}
  assert "cell 2 of 3: cell-1" in lines
  assert "cell-1 failed: it is broken" in lines
  assert lines[-1] == "3 of 3 cells done"
  assert any(line.startswith("1 of 3 cells done, 0:00:0") for line in lines)
  assert "works on good" in (tmp_path / "cell-2.txt").read_text()


def test_a_cell_per_device_at_the_same_time(tmp_path):
  slots = [{"CUDA_VISIBLE_DEVICES": name} for name in ("3", "5")]
  work, lines = queue(tmp_path, ["good"] * 6, slots)
  work.run()
  used = {line.split()[-1] for line in lines if "works on" in line}
  assert used == {"3", "5"}
  assert not work.failures


def test_a_signal_is_passed_on(tmp_path, handled_signals):
  ready = threading.Event()
  lines = []

  def show(line):
    lines.append(line)
    if line.endswith("ready"):
      ready.set()

  def interrupt():
    ready.wait(30)
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)

  work, _ = queue(tmp_path, ["slow", "good"], show=show)
  threading.Thread(target=interrupt).start()
  with pytest.raises(SystemExit) as error:
    work.run()
  assert error.value.code == 128 + signal.SIGTERM
  assert "cell-0: saved" in lines
  assert not any("cell-1" in line for line in lines)  # not begun
  assert not work.failures


def test_a_log_that_cannot_be_written_is_a_failure(tmp_path):
  (tmp_path / "cell-0.txt").mkdir()
  work, lines = queue(tmp_path, ["slow", "good"])
  work.run()
  assert list(work.failures) == ["cell-0"]
  assert "cell-0.txt" in work.failures["cell-0"]
  assert lines[-1] == "2 of 2 cells done"


@pytest.mark.parametrize(
  "visible, found, expected",
  [
    (None, {"platform": "gpu", "count": 2}, ["0", "1"]),
    ("3,7", {"platform": "gpu", "count": 2}, ["3", "7"]),
    (None, {"platform": "gpu", "count": 1}, [None]),
    (None, {"platform": "cpu", "count": 8}, [None]),
  ],
)
def test_a_slot_per_gpu(monkeypatch, visible, found, expected):
  monkeypatch.setattr(worker_process.shutil, "which", lambda _: "nvidia-smi")
  monkeypatch.setattr(Workers, "_ask", lambda *_: found)
  monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
  if visible:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
  slots = WORKERS.slots()
  assert [slot.get("CUDA_VISIBLE_DEVICES") for slot in slots] == expected


def test_why_a_worker_failed():
  assert reason(["a", "x.py: error: no disk", ""], 2) == "no disk"
  assert reason(["ValueError: 3"], 1) == "ValueError: 3"
  assert reason([], -9) == "the worker ended with exit status -9"
