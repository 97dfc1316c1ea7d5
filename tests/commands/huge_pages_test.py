"""A process that asks for huge pages starts anew, with all it was given."""

import json
import os
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Prints what it was given. The system's answers come from files, so that the
# test does not depend on the machine.
TOOL = """
import json, os, pathlib, sys
from bamjax.commands import huge_pages

folder = pathlib.Path(__file__).parent
huge_pages._SETTING = folder / "setting"
os.confstr = lambda name: (folder / "library").read_text()
os.environ["STARTS"] = str(int(os.environ.get("STARTS", 0)) + 1)
huge_pages.use_huge_pages()
given = sys.argv[1:], sys.stdin.read(), os.environ.get("GLIBC_TUNABLES")
ids = sys.orig_argv[1:], os.getpid()
print(json.dumps([*ids, int(os.environ["STARTS"]), *given]))
"""
# Runs the tool in its own process, as a debugger would.
OUTER = """
import runpy, sys
sys.argv = ["tool.py", "x"]
runpy.run_path("tool.py", run_name="__main__")
"""


@pytest.fixture
def call(tmp_path):
  (tmp_path / "tool.py").write_text(TOOL)
  (tmp_path / "outer.py").write_text(OUTER)

  def call(
    *arguments,
    setting="always [madvise] never",
    library="glibc 2.36",
    tunables=None,
  ):
    (tmp_path / "setting").write_text(setting)
    (tmp_path / "library").write_text(library)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("GLIBC_TUNABLES", None)
    if tunables is not None:
      environment["GLIBC_TUNABLES"] = tunables
    process = subprocess.Popen(
      [sys.executable, *arguments],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      cwd=tmp_path,
      env=environment,
      text=True,
    )
    out, _ = process.communicate("input")
    whole, pid, *given = json.loads(out)
    assert (process.returncode, pid) == (0, process.pid)
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
    ["-c", OUTER],
    ["-uc", OUTER, "x"],
    ["-m", "outer", "tool.py", "x"],
  ],
)
def test_leaves_a_process_that_is_another_program(call, start):
  starts, arguments, *_ = call(*start)
  assert (starts, arguments) == (1, ["x"])
