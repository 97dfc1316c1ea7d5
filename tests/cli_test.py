"""Users' mistakes: one line on stderr and exit status 2; bugs keep a trace."""

import pytest

import scripts

SCRIPT = """
import logging

from absl import flags
from bamjax import cli
from bamjax.errors import UserError

flags.DEFINE_string("fail", None, "how to fail")
flags.DEFINE_integer("number", 1, "a number")
if CONFIG:
  config = cli.define_config(CONFIG, "the configuration")

def main(argv):
  if flags.FLAGS.fail == "user":
    raise UserError("no such thing:\\n  really")
  if flags.FLAGS.fail == "disk":
    raise OSError(28, "No space left on device", "log.txt")
  if flags.FLAGS.fail == "interrupt":
    raise KeyboardInterrupt
  if flags.FLAGS.fail == "log":
    logging.warning("left out: %s", "a.png")
    return
  if flags.FLAGS.fail == "bug":
    raise RuntimeError("a bug")
  print("number", flags.FLAGS.number)
  if CONFIG:
    print("steps", config.value.steps)

cli.run(main)
"""

CONFIG = """
import ml_collections

def get_config():
  return ml_collections.ConfigDict({"steps": 3})
"""


@pytest.fixture
def call(tmp_path):
  def call(*flags, config=False):
    config_file = tmp_path / "config.py"
    config_file.write_text(CONFIG)
    path = tmp_path / "tool.py"
    value = repr(str(config_file)) if config else "None"
    path.write_text(f"CONFIG = {value}\n{SCRIPT}")
    return scripts.call(path, *flags, cwd=tmp_path)

  return call


def test_runs_main(call):
  done = call("--number=7")
  assert (done.code, done.out, done.err) == (0, "number 7\n", "")


@pytest.mark.parametrize(
  "flag, message",
  [
    ("--fail=user", "no such thing: really"),
    ("--fail=disk", "log.txt: No space left on device; "),
    ("--nubmer=3", "Unknown command line flag 'nubmer'"),
    ("--number=three", "flag --number=three: invalid literal"),
    ("--number", "Missing value for flag --number"),
    ("stray", "unexpected argument 'stray'"),
  ],
)
def test_a_mistake_is_one_line(call, flag, message):
  done = call(flag)
  assert done.code == 2
  assert done.out == ""
  assert done.err.startswith(f"tool.py: error: {message}")
  assert done.err.count("\n") == 1


@pytest.mark.parametrize(
  "flag, message",
  [
    ("--config=nowhere.py", "--config could not be read: "),
    ("--config.stesp=3", "the configuration has no field 'stesp'"),
    ("--config.steps=three", "flag --config.steps=three: invalid literal"),
  ],
)
def test_a_mistake_in_the_configuration_is_one_line(call, flag, message):
  done = call(flag, config=True)
  assert done.code == 2
  assert done.err.startswith(f"tool.py: error: {message}")
  assert done.err.count("\n") == 1


def test_configuration_takes_values(call):
  done = call("--config.steps=5", config=True)
  assert done.out == "number 1\nsteps 5\n"


def test_warnings_are_plain_lines(call):
  done = call("--fail=log")
  assert (done.code, done.err) == (0, "warning: left out: a.png\n")


def test_an_interrupted_script_says_so(call):
  done = call("--fail=interrupt")
  assert (done.code, done.err) == (130, "interrupted\n")


def test_a_bug_keeps_its_traceback(call):
  done = call("--fail=bug")
  assert done.code not in (0, 2)
  assert "Traceback" in done.err and "a bug" in done.err
