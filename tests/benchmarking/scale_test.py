import json
import sys

import pytest

from benchmarks import running
from benchmarks import scale


@pytest.mark.parametrize(
  ("seconds", "expected"), [((1, 1), 0), ((1, 10), 1), ((1, 1000), 3)]
)
def test_exponents_of_powers(seconds, expected):
  assert scale.exponent((5, 50), seconds) == pytest.approx(expected)


def test_sizes_are_measured_each_in_a_process(tmp_path, monkeypatch, capsys):
  path = tmp_path / "scale.json"
  flags = ["--parts", "crops", "--most", "10000", "--output", str(path)]
  monkeypatch.setattr(sys, "argv", ["scale.py", *flags])
  running.run(scale.main)
  found = json.loads(path.read_text())["crops"]
  assert [*found] == ["1000", "10000"]
  assert all(row["seconds"] > 0 < row["bytes"] for row in found.values())
  assert "exponent" in found["10000"]
  assert "10,000" in capsys.readouterr().out


def test_a_limit_that_leaves_nothing_is_one_line(monkeypatch, capsys):
  flags = ["--parts", "crops", "--most", "10"]
  monkeypatch.setattr(sys, "argv", ["scale.py", *flags])
  with pytest.raises(SystemExit) as caught:
    running.run(scale.main)
  assert caught.value.code == 2
  assert "--most=10 leaves no size of crops" in capsys.readouterr().err
