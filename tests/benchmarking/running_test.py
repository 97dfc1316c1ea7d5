import sys

import pytest

from benchmarks import protocol_parts
from benchmarks import running


@pytest.mark.parametrize(
  ("flags", "said"),
  [
    (["Set5", "--weights=absent.pth"], "absent.pth: no such file"),
    (["absent", "--weights=pan-bam-x2"], "no folder absent"),
    (["Set5", "--weights=pan-bam-x9"], "available: pan-bam-x2"),
    (["a.json", "--weights=w", "--output=a.json"], "which is read"),
  ],
)
def test_mistakes_are_one_line(flags, said, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "a.json").touch()
  monkeypatch.setattr(sys, "argv", ["protocol_parts.py", *flags])
  with pytest.raises(SystemExit) as caught:
    running.run(protocol_parts.main)
  assert caught.value.code == 2
  text = capsys.readouterr().err
  assert text.startswith("protocol_parts: error: ") and said in text
  assert text.count("\n") == 1
