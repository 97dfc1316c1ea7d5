"""What machines do to long runs, done to short ones."""

import os
from pathlib import Path
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from scripts import newest
from scripts import ROOT
from scripts import rows
from scripts import tiny_run
from training.real_runs import being_written
from training.real_runs import final_params
from training.real_runs import same


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "kills"), [("tfdata", 4), ("resident", 4)])
def test_a_run_that_was_killed_is_the_run_that_was_not(
  start, tmp_path, mode, kills
):
  steps, flag = 40 * kills, f"--data_mode={mode}"
  code, _, err = start(tmp_path / "whole", steps, flag).finish()
  assert code == 0, err
  run_dir = tmp_path / "killed"
  moments, while_saving = random.Random(mode), 0
  for kill in range(kills):
    process = start(run_dir, steps, flag)
    seen = newest(run_dir)
    # Runs die at once, after some more checkpoints, or while one is written.
    more = moments.choice([0, 1, 3, 6])
    while process.running() and newest(run_dir) < seen + 4 * more:
      time.sleep(0.002)
    if kill % 2:
      while process.running() and not being_written(run_dir):
        time.sleep(0.0005)
    else:
      time.sleep(moments.uniform(0, 0.2))
    while_saving += bool(being_written(run_dir))
    process.send_signal(signal.SIGKILL)
    process.finish()
  assert newest(run_dir) < steps, "it ended before it was killed so often"
  assert while_saving >= kills // 4
  code, out, err = start(run_dir, steps, flag).finish()
  assert code == 0, err
  assert "resuming from step" in out
  assert rows(run_dir) == rows(tmp_path / "whole")
  names = ("summary.json", "data.json")
  for name in names:
    whole = (tmp_path / "whole" / name).read_text()
    assert (run_dir / name).read_text() == whole
  ours, theirs = (final_params(d, steps) for d in (run_dir, tmp_path / "whole"))
  assert same(ours, theirs)


@pytest.mark.slow
def test_a_full_disk_loses_nothing(start, tmp_path):
  disk = tmp_path / "disk"
  disk.mkdir()
  mount = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(disk)]
  if not shutil.which("mount") or subprocess.run(mount, check=False).returncode:
    pytest.skip("a small file system can't be mounted here")
  try:
    # Each checkpoint takes some room, and all of these are kept.
    flags = [60, "--config.keep_last=100"]
    code, _, err = start(disk / "run", *flags).finish()
    assert code == 2, err
    (line,) = [line for line in err.splitlines() if "error:" in line]
    assert "No space left" in line and "Traceback" not in err
    assert newest(disk / "run") > 0
    larger = ["mount", "-o", "remount,size=100m", str(disk)]
    subprocess.run(larger, check=True)
    code, out, err = start(disk / "run", *flags).finish()
    assert code == 0, err
    assert "resuming from step" in out
    code, _, err = start(tmp_path / "whole", *flags).finish()
    assert rows(disk / "run") == rows(tmp_path / "whole")
  finally:
    subprocess.run(["umount", "-l", str(disk)], check=False)


def resident_bytes(process):
  for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
    if line.startswith("VmRSS:"):
      return 1024 * int(line.split()[1])
  return 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
@pytest.mark.parametrize("mode", ["tfdata", "resident"])
def test_memory_does_not_grow_over_two_thousand_steps(start, tmp_path, mode):
  flags = ["--config.checkpoint_every=500", "--config.eval_every=500"]
  flags += ["--config.log_every=50", f"--data_mode={mode}"]
  process = start(tmp_path, 2500, *flags)
  seen = {}
  for line in process.lines():
    if not line.startswith("step "):  # what trains on what
      continue
    step = int(line.split("/")[0].removeprefix("step "))
    # What a process still needs at its end is not a step's.
    if "PSNR" not in line and step < 2500:
      seen[step] = resident_bytes(process)
    if step == 2500:
      break
  code, _, err = process.finish()
  assert code == 0, err
  early = max(size for step, size in seen.items() if step <= 750)
  late = max(size for step, size in seen.items() if step >= 2000)
  assert early > 10**8
  assert late < early + 30 * 2**20, seen


@pytest.mark.slow
def test_a_closed_stdout_does_not_end_a_run(
  photographs, kept_environment, tmp_path
):
  flags = tiny_run(photographs, tmp_path / "run", 40)
  command = [sys.executable, str(ROOT / "train.py"), *flags]
  with subprocess.Popen(
    command,
    env={**os.environ, **kept_environment},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    assert process.stdout.readline()
    process.stdout.close()  # as head does
    err = process.stderr.read()
    assert process.wait() == 0, err
  assert "Traceback" not in err
  assert rows(tmp_path / "run")[-1]["step"] == 40
  assert (tmp_path / "run" / "summary.json").exists()
