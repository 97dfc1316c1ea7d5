"""Runs are read while they train, and from read-only folders."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from scripts import newest
from scripts import rows
from scripts import Script
from training.real_runs import being_written
from training.real_runs import final_params
from training.real_runs import same

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
    # By default, the results are beside it.
    named = [f"--run_dir={mounted}"]
    code, _, err = Script("evaluate.py", *named, **kept_environment).finish()
    assert code == 0, err
    assert (tmp_path / "mounted-results" / "results.csv").exists()
    named.append(f"--output={mounted}")
    code, _, err = Script("evaluate.py", *named, **kept_environment).finish()
    assert code == 2 and "Traceback" not in err
    assert "cannot be written" in err
  finally:
    subprocess.run(["umount", "-l", str(mounted)], check=False)
