"""Ctrl-C, at the moments at which Python's own handler goes wrong; SIGTERM.

A process that asks for huge pages starts anew, with all it was given.
"""

import json
import os
import signal
import subprocess
import sys
import time
import warnings

import jax
import pytest

from bamjax import files
from bamjax.commands import process
import scripts

# What starts the tests may ignore Ctrl-C, as a shell does for what it starts in
# the background, and a process inherits that.
_HEARD = "signal.signal(signal.SIGINT, signal.SIG_DFL)"

_START = """
import os, signal, sys, time
from bamjax.commands import process

def press():
  os.kill(os.getpid(), signal.SIGINT)
  time.sleep(0)  # where Python calls the handler

class Freed:
  def __del__(self):  # what it raises, Python prints and forgets
    press()

process.end_at_once()
"""

_BODIES = {
  # No command has begun, and a traceback would show an import.
  "while modules are imported": """
press()
""",
  "in a destructor": """
from bamjax.commands import cli
process.unwind()
sys.unraisablehook = cli._report_unraisable
try:
  Freed()
  time.sleep(20)
except KeyboardInterrupt:
  process.end_interrupted()
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
  body = "press()\nprocess.unwind()\npress()\nprint('it went on')\n"
  done = start(body, "sh", "-c", "trap '' INT; exec \"$@\"", "sh")
  assert (done.returncode, done.stdout) == (0, "it went on\n")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.6, 1.2, 2.4])
def test_an_evaluation_ends_whenever_it_comes(seconds, photographs, tmp_path):
  command = subprocess.Popen(
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
  os.kill(command.pid, signal.SIGINT)
  _, err = command.communicate(timeout=60)
  # On a fast machine the last ones may come too late, or while Python, which
  # has given up its handlers, shuts down.
  late = ((0, ""), (-signal.SIGINT, ""))
  assert (command.returncode, err) in ((130, "interrupted\n"), *late)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_the_end_of_a_command_leaves_no_part_of_a_file(tmp_path, name):
  number = getattr(signal, name)
  program = f"""
import os, pathlib, signal, time
from bamjax.commands import process
from bamjax.files import replacing
signal.signal({int(number)}, signal.SIG_DFL)  # may be ignored, as by nohup
process.handle_signals()
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


# Prints what it was given. The system's answers come from files, so that the
# test does not depend on the machine.
_TOOL = """
import json, os, pathlib, sys
from bamjax.commands import process

folder = pathlib.Path(__file__).parent
process._SETTING = folder / "setting"
os.confstr = lambda name: (folder / "library").read_text()
os.environ["STARTS"] = str(int(os.environ.get("STARTS", 0)) + 1)
process.use_huge_pages()
given = sys.argv[1:], sys.stdin.read(), os.environ.get("GLIBC_TUNABLES")
ids = sys.orig_argv[1:], os.getpid()
print(json.dumps([*ids, int(os.environ["STARTS"]), *given]))
"""
# Runs the tool in its own process, as a debugger would.
_OUTER = """
import runpy, sys
sys.argv = ["tool.py", "x"]
runpy.run_path("tool.py", run_name="__main__")
"""


@pytest.fixture
def call(tmp_path):
  (tmp_path / "tool.py").write_text(_TOOL)
  (tmp_path / "outer.py").write_text(_OUTER)

  def call(
    *arguments,
    setting="always [madvise] never",
    library="glibc 2.36",
    tunables=None,
  ):
    (tmp_path / "setting").write_text(setting)
    (tmp_path / "library").write_text(library)
    environment = os.environ | {"PYTHONPATH": str(scripts.ROOT)}
    environment.pop("GLIBC_TUNABLES", None)
    if tunables is not None:
      environment["GLIBC_TUNABLES"] = tunables
    started = subprocess.Popen(
      [sys.executable, *arguments],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      cwd=tmp_path,
      env=environment,
      text=True,
    )
    out, _ = started.communicate("input")
    whole, pid, *given = json.loads(out)
    assert (started.returncode, pid) == (0, started.pid)
    assert whole == list(arguments)
    return given

  return call


@pytest.mark.parametrize("start", [["tool.py"], ["-m", "tool"], ["-mtool"]])
def test_asks_once_and_keeps_all(call, start):
  starts, arguments, stdin, tunables = call(*start, "--a=b c", "×")
  assert (starts, arguments, stdin) == (2, ["--a=b c", "×"], "input")
  assert tunables == "glibc.malloc.hugetlb=1"


@pytest.mark.parametrize(
  "start",
  [
    ["-u", "tool.py"],
    ["-X", "utf8", "--", "tool.py"],
    ["-Bu", "-Xutf8", "-Wd", "-W", "ignore", "tool.py"],
    ["-X", "utf8", "-um", "tool"],
  ],
  ids=" ".join,
)
def test_keeps_the_options_of_python(call, start):
  starts, arguments, *_ = call(*start, "-c", "-u")
  assert (starts, arguments) == (2, ["-c", "-u"])


def test_keeps_other_tunables(call):
  starts, *_, tunables = call("tool.py", tunables="glibc.malloc.perturb=1")
  assert starts == 2
  assert tunables == "glibc.malloc.perturb=1:glibc.malloc.hugetlb=1"


@pytest.mark.parametrize(
  "system",
  [
    {"setting": "[always] madvise never"},
    {"setting": "always madvise [never]"},
    {"library": "glibc 2.34"},
    {"library": "musl 1.2"},
    {"tunables": "glibc.malloc.hugetlb=0"},
  ],
)
def test_leaves_a_process_that_gains_nothing(call, system):
  starts, arguments, stdin, tunables = call("tool.py", "x", **system)
  assert (starts, arguments, stdin) == (1, ["x"], "input")
  assert tunables == system.get("tunables")


@pytest.mark.parametrize(
  "start",
  [
    ["outer.py", "x"],
    ["-u", "outer.py", "x"],
    ["-c", _OUTER],
    ["-uc", _OUTER, "x"],
    ["-m", "outer", "tool.py", "x"],
  ],
)
def test_leaves_a_process_that_is_another_program(call, start):
  starts, arguments, *_ = call(*start)
  assert (starts, arguments) == (1, ["x"])


@pytest.mark.parametrize("home", ["none", "not to be written"])
def test_without_a_home_no_programs_are_kept(tmp_path, monkeypatch, home):
  def no_home():
    raise RuntimeError("Could not determine home directory.")

  (tmp_path / "file").touch()
  if home == "none":
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(process.Path, "home", no_home)
  else:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
  monkeypatch.setattr("bamjax.layers.cpu.onednn.usable", lambda: False)
  before = jax.config.jax_compilation_cache_dir
  jax.config.update("jax_compilation_cache_dir", None)
  try:
    process.keep_compiled()
    assert jax.config.jax_compilation_cache_dir is None
  finally:
    jax.config.update("jax_compilation_cache_dir", before)


def test_a_command_ignores_pillows_warnings_once():
  warnings.simplefilter("error")
  process.ignore_odd_metadata()
  before = list(warnings.filters)
  process.ignore_odd_metadata()
  assert warnings.filters == before
  warnings.warn_explicit("odd", UserWarning, "", 1, module="PIL.Image")
  with pytest.raises(UserWarning):
    warnings.warn_explicit("ours", UserWarning, "", 1, module="bamjax.images")
