"""Flags with several values; paths may contain commas."""

from collections.abc import Sequence
import dataclasses
import importlib

from absl import flags
import pytest

from bamjax.commands import cli
from bamjax.commands import list_flags
from bamjax.commands import options
from bamjax.models import registry


def parsed(*argv, **options):
  values = flags.FlagValues()
  list_flags.define("sets", ["default"], "", values, **options)
  values(["script", *argv])
  return values.sets


@pytest.mark.parametrize(
  ("argv", "want"),
  [
    ([], ["default"]),
    (["--sets=a,b"], ["a", "b"]),
    (["--sets=a", "--sets=b,c"], ["a", "b", "c"]),
    (["--sets=with, comma/x,a"], ["with, comma/x", "a"]),
    (["--sets=a,with, comma/x"], ["a", "with, comma/x"]),
    (["--sets=with, comma"], ["with, comma"]),
    (["--sets=absent,none"], ["absent", "none"]),
    (["--sets="], []),
  ],
)
def test_commas_in_names_do_not_split(argv, want, tmp_path, monkeypatch):
  (tmp_path / "with, comma" / "x").mkdir(parents=True)
  monkeypatch.chdir(tmp_path)
  assert parsed(*argv, paths=True) == want


def test_other_lists_may_be_repeated_too():
  assert parsed("--sets=2,3", "--sets=4") == ["2", "3", "4"]


def test_whole_numbers():
  assert parsed("--sets=2,3", "--sets=4", integers=True) == [2, 3, 4]
  with pytest.raises(flags.Error, match="--sets=2,a: expected whole numbers"):
    parsed("--sets=2,a", integers=True)


def test_values_that_are_not_split():
  assert parsed("--sets=a=(1,2)", "--sets=b=3", whole=True) == [
    "a=(1,2)",
    "b=3",
  ]


@dataclasses.dataclass(frozen=True)
class _Options:
  scale: int | None = options.option(None, "", numbers=options.SCALES)
  scales: Sequence[int] = options.option((), "", numbers=options.SCALES)


@pytest.mark.parametrize("name", ["scale", "scales"])
def test_a_scale_that_no_network_has_is_answered_by_those_that_exist(name):
  assert options.SCALES == registry.SCALES
  for text in ("1.5", "5", "two", "-2"):
    values = flags.FlagValues()
    options.define(_Options, values, [])
    with pytest.raises(flags.Error, match="choose from 2, 3, 4, 8"):
      values(["script", f"--{name}={text}"])
  values(["script", "--scale=8", "--scales=2,8"])
  assert (values.scale, values.scales) == (8, [2, 8])


def test_every_command_knows_the_scales():
  found = []
  for command in cli.COMMANDS:
    module = importlib.import_module(f"bamjax.commands.{command}")
    for field in dataclasses.fields(module.Options):
      if field.name in ("scale", "scales"):
        found.append(command)
        assert field.metadata["flag"].numbers == options.SCALES
  assert found == list(cli.COMMANDS)
