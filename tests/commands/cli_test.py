"""Mistakes are one line on stderr and exit status 2; bugs keep a traceback."""

import types

import pytest

from bamjax.commands import cli
import scripts

SCRIPT = """
from collections.abc import Sequence
import dataclasses
import logging
import os
import sys
from typing import Any

from bamjax.commands import cli
from bamjax.commands import config_flag
from bamjax.commands.options import option
from bamjax.commands.options import positional
from bamjax.errors import UserError


def define_config(name, help_text, values, arguments):
  config_flag.define(name, help_text, values)


@dataclasses.dataclass(frozen=True)
class Plain:
  fail: str | None = option(None, "how to fail")
  number: int = option(1, "a number")
  share: float = option(1.0, "a share")
  fast: bool = option(False, "whether to hurry")
  path: Sequence[str] = option((), "paths")


@dataclasses.dataclass(frozen=True)
class WithInputs(Plain):
  inputs: Sequence[str] = positional("FILE …")


@dataclasses.dataclass(frozen=True)
class WithConfig(Plain):
  config: Any = option(None, "the configuration", define=define_config)


Options = WithConfig if CONFIG else WithInputs if POSITIONAL else Plain


def run(options):
  if options.fail == "user":
    raise UserError("no such thing:\\n  really")
  if options.fail == "disk":
    raise OSError(28, "No space left on device", "log.txt")
  if options.fail == "interrupt":
    raise KeyboardInterrupt
  if options.fail == "log":
    logging.getLogger("bamjax.upscaling.jobs").warning("left out: a.png")
    logging.warning("of another library's")
    return
  if options.fail == "bug":
    raise RuntimeError("a bug")
  if options.fail in ("closed", "both closed"):
    reading, writing = os.pipe()
    os.close(reading)
    for number in (1, 2) if options.fail == "both closed" else (1,):
      os.dup2(writing, number)
    for i in range(3):
      print("a line", flush=i == 1)
      print("an error", file=sys.stderr)
      logging.warning("a warning")
    open("done", "w").close()
  if options.fail == "letters":
    print("3×4 → 日 caf\\udce9")
    logging.warning("日")
  if options.fail == "control":
    name = "a\\x1b[2J\\n\\x9bb"
    print("tab\\t", name)
    print("\\x1b[A bar\\r", file=sys.stderr)
    logging.warning("left out: %s", name)
    raise UserError(f"bad {name}")
  if options.path:
    print("path", *options.path, *getattr(options, "inputs", ()))
  print("number", options.number)
  if CONFIG:
    print("steps", options.config.steps)


if ENCODING:
  sys.stdout.reconfigure(encoding=ENCODING, errors="strict")
if CLOSED:
  sys.stdout = sys.stderr = None
this = type(sys)("bamjax.commands.tool", "Test the command line.")
this.Options, this.run = Options, run
cli.run_module(this, "tool.py", sys.argv[1:])
"""

CONFIG = """
from bamjax.runs.recipe import Optim
from bamjax.runs.recipe import Recipe

def get_config():
  return Recipe(steps=3, optim=Optim(learning_rate=1))
"""
OLD = """
from bamjax.runs import defaults

def get_config():
  c = defaults.get_config()
  c.steps = 3
  return c
"""
FILES = {
  "none.py": "x = 1",
  "text.py": "no Python, but text",
  "string.py": "def get_config(): return 'x'",
  "odd.py": CONFIG.replace("steps", "length"),
  "type.py": CONFIG.replace("3", "'3'"),
  "bug.py": CONFIG.replace("return", "1 / 0,"),
  "old.py": OLD,
}


@pytest.fixture
def call(tmp_path):
  def call(
    *flags,
    config=False,
    encoding=None,
    closed=False,
    positional=False,
    **environment,
  ):
    config_file = tmp_path / "config.py"
    config_file.write_text(CONFIG)
    path = tmp_path / "tool.py"
    value = repr(str(config_file)) if config else "None"
    settings = (
      f"CONFIG, ENCODING, CLOSED, POSITIONAL ="
      f" {value}, {encoding!r}, {closed}, {positional}"
    )
    path.write_text(f"{settings}\n{SCRIPT}")
    return scripts.call(path, *flags, cwd=tmp_path, **environment)

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
    ("--number=three", "flag --number=three: expected a whole number"),
    ("--share=half", "flag --share=half: expected a number"),
    ("--fast=maybe", "flag --fast=maybe: expected true or false"),
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
    ("--config=nowhere.py", "--config could not be read: nowhere.py: No such"),
    (
      "--config=nowhere.py --config.steps=1",
      "--config could not be read: nowhere",
    ),
    (
      "--config.steps=1 --config nowhere.py",
      "--config could not be read: nowhere",
    ),
    ("--config=.", "--config could not be read: .: "),
    ("--config=none.py", "--config could not be read: none.py: it has no fun"),
    (
      "--config=text.py",
      "--config could not be read: text.py: it is not Python",
    ),
    ("--config=string.py", "--config could not be read: string.py: get_con"),
    (
      "--config=odd.py --config.steps=3",
      "--config could not be read: odd.py: TypeError: Recipe.__init__() got an",
    ),
    ("--config=type.py", "the configuration's steps is '3', and must be an in"),
    ("--config=bug.py", "--config could not be read: bug.py: ZeroDivisionErr"),
    (
      "--config=old.py",
      "--config could not be read: old.py: it is of an older bamjax: return"
      " dataclasses.replace(Recipe(), steps=…)",
    ),
    (
      "--config.stesp=3",
      "the configuration has no field 'stesp'; did you mean --config.steps?",
    ),
    (
      "--config.lr=3",
      "the configuration has no field 'lr'; use --config.optim.learning_rate=",
    ),
    (
      "--config.model_options.blocks=3",
      "the configuration has no field 'model_options.blocks'; use --options=",
    ),
    (
      "--lr=3",
      "Unknown command line flag 'lr'; use --config.optim.learning_rate=VALUE",
    ),
    (
      "--steps=3",
      "Unknown command line flag 'steps'; use --config.steps=VALUE",
    ),
    (
      "--config.steps=three",
      "flag --config.steps=three: expected a whole number",
    ),
  ],
)
def test_a_mistake_in_the_configuration_is_one_line(
  call, tmp_path, flag, message
):
  for name, text in FILES.items():
    (tmp_path / name).write_text(text)
  done = call(*flag.split(), config=True)
  assert done.code == 2
  assert done.err.startswith(f"tool.py: error: {message}")
  assert done.err.count("\n") == 1


def test_configuration_takes_values(call):
  done = call("--config.steps=5", config=True)
  assert done.out == "number 1\nsteps 5\n"


def test_the_configuration_file_may_come_last(call, tmp_path):
  (tmp_path / "mine.py").write_text(CONFIG.replace("3", "4"))
  flags = ("--number=2", "--config.optim.learning_rate=5", "--config=mine.py")
  done = call(*flags, config=True)
  assert done.out == "number 2\nsteps 4\n"


def test_warnings_are_plain_lines(call):
  done = call("--fail=log")
  assert done.code == 0
  assert done.err == (
    "warning: left out: a.png\nwarning: of another library's\n"
  )


def test_control_characters_are_escaped(call):
  done = call("--fail=control")
  assert done.out == "tab\t a\\x1b[2J\n\\x9bb\n"
  warning, error = done.err.splitlines()[-2:]
  assert warning == r"warning: left out: a\x1b[2J\n\x9bb"
  assert error == r"tool.py: error: bad a\x1b[2J \x9bb"
  assert "\x1b[A bar" in done.err  # as tqdm's


def test_an_interrupted_script_says_so(call):
  done = call("--fail=interrupt")
  assert (done.code, done.err) == (130, "interrupted\n")


def test_a_bug_keeps_its_traceback(call):
  done = call("--fail=bug")
  assert done.code not in (0, 2)
  assert "Traceback" in done.err and "a bug" in done.err


@pytest.mark.parametrize("what", ["closed", "both closed"])
def test_a_closed_pipe_does_not_end_the_work(call, tmp_path, what):
  done = call(f"--fail={what}")
  assert done.code == 0 and (tmp_path / "done").exists()
  assert "Traceback" not in done.err
  if what == "closed":
    assert done.err.count("stdout is closed (Broken pipe)") == 1
    assert done.err.count("an error") == 3


def test_streams_closed_before_the_start_do_not_end_the_work(call):
  assert call(closed=True).code == 0


@pytest.mark.parametrize(
  "encoding, line",
  [
    ("utf-8", "3×4 → 日 caf\\udce9"),
    ("ascii", "3x4 -> \\u65e5 caf\\udce9"),
  ],
)
def test_what_an_encoding_lacks_is_replaced(call, encoding, line):
  done = call("--fail=letters", encoding=encoding)
  assert done.code == 0
  assert done.out == f"{line}\nnumber 1\n"


def test_home_is_expanded_inside_flags_too(call, tmp_path):
  home = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
  done = call("--path=~/a,b~,~/c", "~/d", "e~", positional=True, **home)
  assert done.out.startswith(
    f"path {tmp_path}/a b~ {tmp_path}/c {tmp_path}/d e~\n"
  )
  done = call("--config=~/config.py", config=True, **home)
  assert done.out == "number 1\nsteps 3\n"


def test_a_missing_device_is_reported(call):
  import jax

  if jax.default_backend() != "cpu":
    pytest.skip("there is such a device")
  done = call(JAX_PLATFORMS="cuda")
  assert done.code == 2 and done.err.count("\n") == 1
  assert "JAX_PLATFORMS=cuda: JAX finds no such device" in done.err
  assert "available: cpu" in done.err and "jax[cuda13]" in done.err


def test_what_a_failed_checkpoint_leaves_is_not_reported(monkeypatch):
  told = []
  monkeypatch.setattr(cli.sys, "__unraisablehook__", told.append)

  def report(value, file=None):
    code = file and types.SimpleNamespace(co_filename=file)
    thing = types.SimpleNamespace(cr_code=code)
    cli._report_unraisable(types.SimpleNamespace(exc_value=value, object=thing))
    return len(told)

  assert report(Exception("a bug")) == 1
  assert report(Exception("a bug"), "/x/bamjax/cli.py") == 2
  assert report(Exception("reading a/b"), "/x/orbax/serialization.py") == 2
  assert report(RuntimeError("Event loop is closed")) == 2


@pytest.mark.parametrize("argument", ["-f", "--format=png", "--format"])
def test_a_flag_of_other_programs_leads_to_ours(argument, capsys):
  from bamjax.commands import upscale

  with pytest.raises(SystemExit) as done:
    cli.parse(upscale.Options, "upscale.py", [argument, "png", "a.jpg"])
  assert done.value.code == 2
  flag = argument.partition("=")[0]
  expected = f"upscale.py: error: there is no {flag}; use --ext (--help)\n"
  assert capsys.readouterr().err == expected
