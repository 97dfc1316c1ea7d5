"""ablate.py: cells are cut, resumed and shared by processes."""

import json
import signal

import pytest

from bamjax.ablation.worker_process import Workers
import scripts

TINY = (
  "--models=pan",
  "--attns=native,bam",
  "--seeds=0",
  "--options=pan:blocks=1,features=8,up_features=8",
  "--data=folder",
  "--config.data.patch=16",
  "--batch_size=4",
  "--steps=40",
  "--config.log_every=10",
  "--config.eval_every=40",
  "--config.checkpoint_every=10",
)
WRITTEN = ("ablation.json", "ablation.csv", "ablation.md", "ablation.html")


def command(photographs, output):
  return [
    *TINY,
    f"--data_dir={photographs}",
    f"--val_dir={photographs}",
    f"--benchmarks={photographs}",
    f"--output={output}",
  ]


def test_a_mistake_is_one_line(tmp_path, photographs):
  flags = [*command(photographs, "x"), "--shard=2/2"]
  done = scripts.call("ablate.py", *flags, cwd=tmp_path)
  assert done.code == 2
  (line,) = done.err.splitlines()
  assert line.startswith("ablate.py: error: --shard is i/n")
  assert not list(tmp_path.iterdir())


def test_a_file_in_the_working_folder_shadows_no_module(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in ("random.py", "json.py", "numpy.py", "jax.py"):
    (tmp_path / name).write_text("raise SystemExit('imported by mistake')")
  assert Workers().machine()["count"] >= 1


@pytest.mark.slow
def test_cut_or_shared_the_table_is_the_same(
  tmp_path, photographs, kept_environment
):
  shards = [
    scripts.Script(
      "ablate.py",
      *command(photographs, tmp_path / "shared"),
      f"--shard={i}/2",
      **kept_environment,
    )
    for i in range(2)
  ]
  for shard in shards:
    done = shard.finish()
    assert done.code == 0, done.err

  flags = command(photographs, tmp_path / "cut")
  script = scripts.Script("ablate.py", *flags, **kept_environment)
  for line in script.lines():
    if line.startswith("pan-bam-seed0: step 10/40"):
      script.send_signal(signal.SIGTERM)
      break
  assert script.finish().code == 128 + signal.SIGTERM
  cells = tmp_path / "cut" / "cells"
  assert not (cells / "pan-bam-seed0" / "summary.json").exists()
  done = scripts.call("ablate.py", *flags, **kept_environment)
  assert done.code == 0, done.err
  assert "1 of 2 cells are finished" in done.out
  assert "pan-bam-seed0: " in done.out and "from step" in done.out
  for name in WRITTEN:
    cut, shared = (
      (tmp_path / folder / name).read_text() for folder in ("cut", "shared")
    )
    assert cut == shared, name
  found = json.loads((tmp_path / "cut" / "ablation.json").read_text())
  assert len(found["finished"]) == 2 and not found["missing"]
  (bam,) = [line for line in found["lines"] if line["attn"] == "bam"]
  assert bam["seeds"] == [0] and len(bam["images"]) == 2
