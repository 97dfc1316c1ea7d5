"""The script that trains the shipped weights, on two tiny photographs."""

import json
import subprocess
import sys

import pytest

import bamjax
import scripts

_SMALL = ["--blocks=1", "--patch=12", "--batch_size=2", "--block=2"]


def pretrain(*flags):
  return subprocess.run(
    [sys.executable, "-m", "benchmarks.pretrain", *flags],
    cwd=scripts.ROOT,
    capture_output=True,
    text=True,
  )


@pytest.mark.slow
def test_trains_what_the_trial_measured(photographs, tmp_path):
  folders = [f"--data_dir={photographs}", f"--val_dir={photographs}"]
  output = f"--output={tmp_path}"
  unready = pretrain("train", *folders, output, *_SMALL)
  assert unready.returncode == 2
  assert unready.stderr.endswith("has no rates.json; run `trial` first\n")
  for command in ("trial", "train"):
    flags = [*folders, output, *_SMALL, "--stages=x2-photo", "--minutes=0.1"]
    done = pretrain(command, *flags, "--model=pan")
    assert done.returncode == 0, done.stderr
  rates = json.loads((tmp_path / "rates.json").read_text())
  assert set(rates) == {"float32", "bfloat16"}
  module, _ = bamjax.load_weights(tmp_path / "kept/x2-photo.safetensors")
  assert (module.scale, module.attention.kind) == (2, "bam")
  config = json.loads((tmp_path / "kept/x2-photo-config.json").read_text())
  assert config["data"]["degradation"] == "photo"
