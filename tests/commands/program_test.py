"""The `bamjax` program: commands, help, versions and recipes."""

import importlib
import re
import runpy
import subprocess
import sys

import jax
import jaxlib
import pytest

import bamjax
from bamjax.commands import cli
from bamjax.commands import config_flag
import scripts


def call(*arguments, **settings):
  return scripts.call("bamjax/__main__.py", *arguments, **settings)


def test_help_lists_the_commands():
  done = call("--help")
  assert done.code == 0 and not done.err
  for name in cli.COMMANDS:
    (line,) = re.findall(rf"^  {name} +(.+)$", done.out, re.MULTILINE)
    assert line in importlib.import_module(f"bamjax.commands.{name}").__doc__
  assert max(map(len, done.out.splitlines())) <= 80
  alone = call()
  assert (alone.code, alone.err, alone.out) == (2, done.out, "")


@pytest.mark.parametrize("word", ["help", "--help", "-h"])
def test_help_describes_a_command(word, monkeypatch, capsys):
  printed = []
  for arguments in ([word, "upscale"], ["upscale", "--help"], [word]):
    monkeypatch.setattr(sys, "argv", ["bamjax", *arguments])
    with pytest.raises(SystemExit) as done:
      cli.main()
    assert not done.value.code
    printed.append(capsys.readouterr().out)
  assert printed[0] == printed[1] != printed[2]
  assert printed[2].startswith("usage: bamjax COMMAND ")


def test_help_may_be_cut_short():
  command = f"{sys.executable} -m bamjax upscale --help | head -n 1"
  done = subprocess.run(
    command,
    shell=True,
    cwd=scripts.ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.stdout.startswith("usage: ") and not done.stderr


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_commands_that_run_for_long_ask_for_huge_pages(name, monkeypatch):
  asked = []
  monkeypatch.setattr(cli.process, "use_huge_pages", lambda: asked.append(1))
  monkeypatch.setattr(cli, "run_module", lambda *_: None)
  cli.run(name, name, ["--help"])
  assert not asked
  cli.run(name, name, ["--x=1"])
  assert bool(asked) == (name in ("train", "ablate", "benchmark"))


def test_help_does_not_wait_for_jax():
  program = "import sys; from bamjax.commands import cli\nsys.argv[1:] = {}\n"
  check = "try: cli.main()\nfinally: assert 'jax' not in sys.modules"
  for arguments in (["--help"], *([name, "-h"] for name in cli.COMMANDS)):
    done = subprocess.run(
      [sys.executable, "-c", program.format(arguments) + check],
      cwd=scripts.ROOT,
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_command_and_its_script_describe_the_same_flags(name):
  command = call(name, "-h")
  script = scripts.call(f"{name}.py", "--help")
  assert command.code == script.code == 0
  assert command.out.startswith(f"usage: bamjax {name} [--FLAG=VALUE …]")
  assert script.out == command.out.replace(
    f"bamjax {name}", f"python {name}.py"
  )
  # Every flag has a description, and fits a terminal.
  assert max(map(len, command.out.splitlines())) <= 80
  assert "-h, --help" in command.out


def test_versions_and_the_device():
  done = call("--version")
  assert done.code == 0, done.err
  first, second, third = done.out.splitlines()
  assert first == f"bamjax {bamjax.__version__}"
  assert second == f"jax {jax.__version__}, jaxlib {jaxlib.__version__}"
  assert third.startswith("device: ") and jax.default_backend() in third


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["trian"], "bamjax: error: unknown command 'trian'; did you mean train?"),
    (["x"], "bamjax: error: unknown command 'x'; use train, evaluate, "),
    (
      ["--verison"],
      "bamjax: error: unknown flag '--verison'; did you mean --v",
    ),
    (["help", "trian"], "bamjax: error: unknown command 'trian'; did you mean"),
    (["train", "--stesp=3"], "bamjax train: error: Unknown command line flag"),
    (
      ["train", "--patch_size=32"],
      "bamjax train: error: Unknown command line flag 'patch_size'; use"
      " --config.data.patch=VALUE (",
    ),
    (
      ["report", "-o", "a.html"],
      "bamjax report: error: there is no -o; use --",
    ),
    (
      ["evaluate", "-s", "2"],
      "bamjax evaluate: error: there is no -s; use --scale",
    ),
    (["train", "-o=x"], "bamjax train: error: Unknown command line flag 'o' ("),
    (["train", "stray"], "bamjax train: error: unexpected argument 'stray'"),
    (["upscale", "--scale", "x"], "bamjax upscale: error: flag --scale=x: "),
    (["upscale", "a.png", "--dtype=int8"], "bamjax upscale: error: flag --dt"),
    (
      ["train", "--config=quikstart"],
      "bamjax train: error: --config could not be read: quikstart: No such file"
      " or directory; did you mean --config=quickstart? recipes: ablation, ",
    ),
  ],
)
def test_a_mistake_is_one_line(arguments, message):
  done = call(*arguments)
  assert done.code == 2 and not done.out
  assert done.err.startswith(message) and done.err.count("\n") == 1


def test_recipes_are_found_by_name_from_any_folder(tmp_path):
  names = "ablation default distilled photo pretrained quickstart".split()
  assert config_flag.recipe_names() == names
  # An unknown field ends each before anything is trained.
  by_name = call(
    "train", "--config", "quickstart", "--config.x=1", cwd=tmp_path
  )
  path = scripts.ROOT / "configs" / "quickstart.py"
  by_path = call("train", f"--config={path}", "--config.x=1", cwd=tmp_path)
  assert by_name.code == 2 and by_name == by_path
  assert "the configuration has no field 'x'" in by_name.err


@pytest.mark.parametrize("name", config_flag.recipe_names())
def test_recipes_are_complete(name):
  from bamjax.runs import experiment

  values = runpy.run_path(str(config_flag.find_recipe(name)))
  experiment.check(values["get_config"]())


def test_flags_may_have_their_value_apart(tmp_path):
  done = call("export", "--weights", "pan-bam-x2", "-o", tmp_path / "a.st")
  assert done.code == 2
  assert "unknown format" in done.err
