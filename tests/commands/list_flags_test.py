"""Flags with several values; paths may contain commas."""

from absl import flags
import pytest

from bamjax.commands import list_flags


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
