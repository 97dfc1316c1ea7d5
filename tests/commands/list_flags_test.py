"""Flags of several values, of which names of files may hold commas."""

from absl import flags
import pytest

from bamjax.commands import list_flags


def parsed(*argv, **options):
  values = flags.FlagValues()
  list_flags.define("sets", ["default"], "", flag_values=values, **options)
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
