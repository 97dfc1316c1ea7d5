"""Runs scripts as users do, each in a process of its own.

The process is forked from one that has already imported JAX, TensorFlow and
Orbax, to save the seconds that the imports take.
"""

import atexit
import json
import multiprocessing
from multiprocessing import forkserver
import os
from pathlib import Path
import runpy
import sys
import tempfile
import time
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

_context = multiprocessing.get_context("forkserver")
# JAX starts its backends in each process, with the XLA_FLAGS of that process.
_context.set_forkserver_preload(["scripts_preload"])


class Done(NamedTuple):
  """Exit status (−N for signal N), stdout and stderr of a script."""

  code: int
  out: str
  err: str


class Script:
  """A running script.

  Attributes:
    pid: its process's ID.
  """

  def __init__(self, name, *flags, cwd=None, **environment):
    """Starts a script, named by its path from the repository's root."""
    self._folder = tempfile.TemporaryDirectory()
    self._files = [Path(self._folder.name) / name for name in ("out", "err")]
    for file in self._files:
      file.touch()
    argv = [str(ROOT / name), *map(str, flags)]
    self._process = _context.Process(
      target=_main, args=(argv, self._files, str(cwd or ROOT), environment)
    )
    _ensure_running()
    self._process.start()
    self.pid = self._process.pid

  def running(self) -> bool:
    """Whether it has not ended yet."""
    return self._process.exitcode is None

  def send_signal(self, number: int) -> None:
    """Sends a signal."""
    os.kill(self.pid, number)

  def lines(self):
    """Yields the lines of stdout as they are written."""
    with self._files[0].open() as file:
      rest = ""
      while True:
        running = self.running()
        rest += file.read()
        *whole, rest = rest.split("\n")
        yield from whole
        if not running:
          return
        time.sleep(0.002)

  def finish(self, timeout: float = 300) -> Done:
    """Waits for its end."""
    self._process.join(timeout)
    code = self._process.exitcode
    if code is None:
      self._process.kill()
    out, err = (file.read_text() for file in self._files)
    self._folder.cleanup()
    assert code is not None, f"it ran for {timeout} s: {out[-500:]}{err[-500:]}"
    return Done(code, out, err)


def call(name, *flags, cwd=None, **environment) -> Done:
  """Runs a script to its end; see `Script`."""
  return Script(name, *flags, cwd=cwd, **environment).finish()


# A very small PAN, quick to compile, for runs of the `photographs`.
TINY = (
  "--model=pan",
  "--attn=acam",
  "--options=blocks=1,features=8,up_features=8",
  "--data=folder",
  "--config.data.patch=16",
  "--batch_size=4",
  "--config.log_every=4",
  "--config.eval_every=1000",
  "--config.checkpoint_every=4",
  "--config.optim.learning_rate=1e-3",
)


def tiny_run(photographs, run_dir, steps):
  """Flags of train.py for a short run."""
  return [
    *TINY,
    f"--data_dir={photographs}",
    f"--val_dir={photographs}",
    f"--run_dir={run_dir}",
    f"--steps={steps}",
  ]


def rows(run_dir):
  """The rows of a run's metrics.jsonl."""
  lines = (run_dir / "metrics.jsonl").read_text().splitlines()
  return [json.loads(line) for line in lines]


def _parsed(name, value):
  """A value of a JAX setting, in the type of that setting."""
  import jax

  before = getattr(jax.config, name)
  if isinstance(before, bool):
    return value == "1"
  return float(value) if isinstance(before, float) else value


def _ensure_running():
  """Starts the process to fork from; it does not inherit `sys.path`."""
  before = os.environ.get("PYTHONPATH")
  os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
  try:
    forkserver.ensure_running()
  finally:
    del os.environ["PYTHONPATH"]
    if before is not None:
      os.environ["PYTHONPATH"] = before


def newest(run_dir) -> int:
  """The step of a run's newest checkpoint; 0 if there is none."""
  found = (run_dir / "checkpoints").glob("[0-9]*")
  return max((int(p.name) for p in found if p.name.isdigit()), default=0)


def _main(argv, files, cwd, environment):
  """What the forked process does."""
  import jax

  for number, file in enumerate(files, 1):
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, number)
  os.environ.update(environment)
  for name, value in environment.items():
    if name.startswith("JAX_"):  # JAX has read them when it was imported
      jax.config.update(name.lower(), _parsed(name.lower(), value))
  os.chdir(cwd)
  sys.argv = argv
  sys.stdin = open(os.devnull)
  try:
    runpy.run_path(argv[0], run_name="__main__")
  finally:
    # Forked processes do not run them by themselves.
    atexit._run_exitfuncs()
