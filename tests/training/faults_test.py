"""What machines do to long runs, done to short ones."""

import os
from pathlib import Path
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from scripts import newest
from scripts import ROOT
from scripts import rows
from scripts import Script
from scripts import tiny_run


@pytest.fixture
def start(photographs, kept_environment):
  """Starts a run of so many steps."""

  def start(run_dir, steps, *more):
    flags = tiny_run(photographs, run_dir, steps)
    return Script("train.py", *flags, *more, **kept_environment)

  return start


def final_params(run_dir, step):
  """Every bit of a run's last checkpoint."""
  from bamjax.runs import folder

  _, _, variables, _ = folder.load(run_dir, step)
  return variables


def same(a, b):
  import jax

  pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  return all(np.array_equal(x, y) for x, y in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["tfdata", "resident"])
def test_killed_ten_times_a_run_is_the_run_that_was_not(start, tmp_path, mode):
  steps, flag = 400, f"--data_mode={mode}"
  code, _, err = start(tmp_path / "whole", steps, flag).finish()
  assert code == 0, err
  run_dir = tmp_path / "killed"
  moments, while_saving = random.Random(mode), 0
  for kill in range(10):
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
  assert newest(run_dir) < steps, "it ended before it was killed ten times"
  assert while_saving >= 3
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


def being_written(run_dir):
  return list((run_dir / "checkpoints").glob("*tmp*"))


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


def together(start, run_dir, steps):
  """Two processes that train one network."""
  with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    port = found.getsockname()[1]
  joined = [f"--coordinator=127.0.0.1:{port}", "--num_processes=2"]
  return [start(run_dir, steps, *joined, f"--process_id={i}") for i in range(2)]


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on(start, tmp_path):
  code, _, err = start(tmp_path / "one", 120).finish()
  assert code == 0, err
  run_dir = tmp_path / "two"
  processes = together(start, run_dir, 120)
  while newest(run_dir) < 20 and processes[0].running():
    time.sleep(0.01)
  # The scheduler tells one of them only.
  processes[1].send_signal(signal.SIGTERM)
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
    (second, "process 0 failed"),
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
  assert time.monotonic() - began < 45
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


_READER = """
import pathlib
import select
import sys
import time

from bamjax.networks import load_network
from scripts import newest

run_dir = pathlib.Path(sys.argv[1])
print("ready", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
  if newest(run_dir):
    print(load_network(run_dir).step, flush=True)
  else:
    time.sleep(0.01)
"""


@pytest.mark.slow
def test_readers_beside_a_training_disturb_nothing(
  start, tmp_path, photographs, kept_environment
):
  """Networks are loaded in a loop while a run saves one after the other."""
  steps, flags = 160, ["--config.checkpoint_every=2", "--config.eval_every=40"]
  code, _, err = start(tmp_path / "whole", steps, *flags).finish()
  assert code == 0, err
  run_dir, said = tmp_path / "read", tmp_path / "said"
  # In a process of its own: where a checkpoint goes while it is read, Orbax
  # leaves futures behind that fail later, in whatever test runs then. It has
  # imported what it needs before the run begins, so that it reads from the
  # first checkpoint on.
  with said.open("w") as file:
    reader = subprocess.Popen(
      [sys.executable, "-c", _READER, str(run_dir)],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=file,
      text=True,
      env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
  assert reader.stdout.readline() == "ready\n", said.read_text()
  process = start(run_dir, steps, *flags)
  while not newest(run_dir) and process.running():
    time.sleep(0.01)
  while_saving, evaluate = 0, None
  while process.running():
    while_saving += bool(being_written(run_dir))
    time.sleep(0.01)
    if evaluate is None or not evaluate.running():
      if evaluate is not None:
        code, _, err = evaluate.finish()
        assert code == 0, err
      named = [f"--run_dir={run_dir}", f"--output={tmp_path / 'results'}"]
      evaluate = Script("evaluate.py", *named, **kept_environment)
  code, _, err = process.finish()
  assert code == 0, err
  code, _, err = evaluate.finish()
  assert code == 0, err
  seen, _ = reader.communicate()  # the end of its stdin ends it
  assert reader.returncode == 0, said.read_text()
  assert len(set(seen.split())) > 1 and while_saving, (seen, while_saving)
  assert not (run_dir / "broken").exists()
  assert rows(run_dir) == rows(tmp_path / "whole")
  ours, theirs = (final_params(d, steps) for d in (run_dir, tmp_path / "whole"))
  assert same(ours, theirs)


@pytest.mark.slow
def test_a_read_only_run_is_read(start, tmp_path, kept_environment):
  run_dir, mounted = tmp_path / "run", tmp_path / "mounted"
  code, _, err = start(run_dir, 8).finish()
  assert code == 0, err
  mounted.mkdir()
  mount = ["mount", "--bind", "-o", "ro", str(run_dir), str(mounted)]
  if not shutil.which("mount") or subprocess.run(mount, check=False).returncode:
    pytest.skip("a folder can't be mounted here")
  try:
    if os.access(mounted, os.W_OK):
      subprocess.run(["mount", "-o", "remount,bind,ro", mounted], check=True)
    assert not os.access(mounted, os.W_OK)
    weights = tmp_path / "weights.safetensors"
    for name, output in (
      ("evaluate.py", tmp_path / "results"),
      ("export.py", weights),
    ):
      named = [f"--run_dir={mounted}", f"--output={output}"]
      code, _, err = Script(name, *named, **kept_environment).finish()
      assert code == 0, err
    assert weights.exists()
    # Told, and before the work.
    named = [f"--run_dir={mounted}"]
    code, out, err = Script("evaluate.py", *named, **kept_environment).finish()
    assert code == 2 and "Traceback" not in err
    assert "cannot be written" in err
  finally:
    subprocess.run(["umount", "-l", str(mounted)], check=False)


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
