"""Ctrl-C, at the moments at which Python's own handler goes wrong; SIGTERM."""

import os
import signal
import subprocess
import sys
import time

import jax
import pytest

from bamjax import files
import scripts

# What starts the tests may ignore Ctrl-C, as a shell does for what it starts in
# the background, and a process inherits that.
_HEARD = "signal.signal(signal.SIGINT, signal.SIG_DFL)"

_START = """
import os, signal, sys, time
from bamjax.commands import interruption

def press():
  os.kill(os.getpid(), signal.SIGINT)
  time.sleep(0)  # where Python calls the handler

class Freed:
  def __del__(self):  # what it raises, Python prints and forgets
    press()

interruption.end_at_once()
"""

_BODIES = {
  # No command has begun, and a traceback would show an import.
  "while modules are imported": """
press()
""",
  "in a destructor": """
from bamjax.commands import cli
interruption.unwind()
sys.unraisablehook = cli._report_unraisable
try:
  Freed()
  time.sleep(20)
except KeyboardInterrupt:
  interruption.leave()
""",
  # As by an extension module that is interrupted while it is imported.
  "turned into another error": """
import dataclasses
from bamjax.commands import cli

@dataclasses.dataclass(frozen=True)
class Options:
  pass

def run(options):
  try:
    press()
  except KeyboardInterrupt:
    raise ImportError("initialization failed") from None

tool = type(sys)("bamjax.commands.tool", "A test.")
tool.Options, tool.run = Options, run
cli.run_module(tool, "tool.py", [])
""",
}


def start(body, *before):
  """Runs a program in which Ctrl-C is heard, unless `before` says otherwise."""
  return subprocess.run(
    [*(before or heard()), sys.executable, "-c", _START + body],
    cwd=scripts.ROOT,
    capture_output=True,
    text=True,
    timeout=120,
  )


def heard():
  """The start of a command line that ends in one to be run."""
  program = f"import os, signal, sys; {_HEARD}; os.execv(sys.argv[1],"
  return sys.executable, "-c", f"{program} sys.argv[1:])"


@pytest.mark.parametrize("when", _BODIES)
def test_ctrl_c_is_one_line_and_a_status(when):
  begin = time.monotonic()
  done = start(_BODIES[when] + "\nprint('it went on')\n")
  assert (done.returncode, done.stdout) == (130, "")
  assert done.stderr == "interrupted\n"
  assert time.monotonic() - begin < 15


def test_where_ctrl_c_is_ignored_it_stays_so():
  body = "press()\ninterruption.unwind()\npress()\nprint('it went on')\n"
  done = start(body, "sh", "-c", "trap '' INT; exec \"$@\"", "sh")
  assert (done.returncode, done.stdout) == (0, "it went on\n")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.6, 1.2, 2.4])
def test_an_evaluation_ends_whenever_it_comes(seconds, photographs, tmp_path):
  process = subprocess.Popen(
    [
      *heard(),
      sys.executable,
      "evaluate.py",
      "--weights=pan-bam-x2",
      f"--benchmarks={photographs}",
      f"--output={tmp_path}",
    ],
    cwd=scripts.ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  time.sleep(seconds)
  os.kill(process.pid, signal.SIGINT)
  _, err = process.communicate(timeout=60)
  # On a fast machine the last ones may come too late, or while Python, which
  # has given up its handlers, shuts down.
  late = ((0, ""), (-signal.SIGINT, ""))
  assert (process.returncode, err) in ((130, "interrupted\n"), *late)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_the_end_of_a_command_leaves_no_part_of_a_file(tmp_path, name):
  number = getattr(signal, name)
  program = f"""
import os, pathlib, signal, time
from bamjax.commands import interruption
from bamjax.files import replacing
signal.signal({int(number)}, signal.SIG_DFL)  # may be ignored, as by nohup
interruption.handle_signals()
folder = pathlib.Path({str(tmp_path)!r})
with replacing(folder / "a.txt") as one, replacing(folder / "b.txt") as two:
  one.write_text("a part")
  assert len(os.listdir(folder)) == 2
  os.kill(os.getpid(), {int(number)})
  time.sleep(20)
"""
  done = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True
  )
  assert (done.returncode, done.stderr) == (-number, "")
  assert not list(tmp_path.iterdir())


def test_signals_are_as_before_once_a_file_is_written(
  tmp_path, handled_signals
):
  for before in (signal.SIG_DFL, signal.SIG_IGN):
    restored = signal.signal(signal.SIGTERM, before)
    try:
      with files.replacing(tmp_path / "a.txt"):
        caught = signal.getsignal(signal.SIGTERM) != before
        assert caught == (before == signal.SIG_DFL)
      assert signal.getsignal(signal.SIGTERM) == before
    finally:
      signal.signal(signal.SIGTERM, restored)


def test_jaxs_handler_of_sigterm_stays(tmp_path, monkeypatch, handled_signals):
  """Several processes stop together by it; Python takes it for the default."""
  monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
  restored = signal.signal(signal.SIGTERM, signal.SIG_DFL)
  try:
    with files.replacing(tmp_path / "a.txt"):
      assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
  finally:
    signal.signal(signal.SIGTERM, restored)
