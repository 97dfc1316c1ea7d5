"""The scripts, end to end, as a user runs them."""

import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
from PIL import Image
import pytest
import skimage.data

from runs import finish
from runs import rows

ROOT = Path(__file__).resolve().parents[1]
TINY = [
  "--model=pan",
  "--options=blocks=1,features=8,up_features=8",
  "--config.data.patch=16",
  "--batch_size=4",
  "--config.log_every=2",
  "--config.eval_every=8",
  "--config.checkpoint_every=2",
  "--config.optim.learning_rate=1e-3",
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
  """A folder of small pictures, two of them good, and odd ones beside."""
  folder = tmp_path_factory.mktemp("pictures")
  for name in ("coffee", "chelsea"):
    crop = getattr(skimage.data, name)()[:96, :120]
    Image.fromarray(crop).save(folder / f"{name}.png")
  return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
  # The scripts' processes share what they compile.
  cache = str(tmp_path_factory.mktemp("cache"))
  return {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "JAX_COMPILATION_CACHE_DIR": cache,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }


@pytest.fixture
def script(environment, tmp_path):
  def start(name, *flags, devices=1, **variables):
    count = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
      [sys.executable, str(ROOT / name), *map(str, flags)],
      cwd=tmp_path,
      env={**environment, "XLA_FLAGS": count, **variables},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )

  return start


def folder_flags(pictures, run_dir, steps=8):
  return [
    *TINY,
    "--data=folder",
    f"--data_dir={pictures}",
    f"--val_dir={pictures}",
    f"--run_dir={run_dir}",
    f"--steps={steps}",
  ]


@pytest.fixture(scope="module")
def finished(pictures, environment, tmp_path_factory):
  """A run of 8 steps that nothing disturbed."""
  run_dir = tmp_path_factory.mktemp("finished")
  done = subprocess.run(
    [
      sys.executable,
      str(ROOT / "train.py"),
      *folder_flags(pictures, run_dir),
    ],
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  return run_dir, done.stdout


def test_a_run_leaves_its_scores_and_its_checkpoints(finished):
  run_dir, out = finished
  summary = json.loads((run_dir / "summary.json").read_text())
  assert summary["steps"] == 8
  assert summary["parameters"] > 0
  assert {p["name"] for p in summary["images"]} == {"coffee", "chelsea"}
  for name in ("psnr_y", "ssim_y", "bicubic_psnr_y", "bicubic_ssim_y"):
    values = [p[name] for p in summary["images"]]
    assert summary[name] == pytest.approx(np.mean(values))
  assert "bicubic" in out and "gain" in out
  assert json.loads((run_dir / "config.json").read_text())["model"] == "pan"
  assert [r["step"] for r in rows(run_dir)] == [2, 4, 6, 8, 8]
  (events,) = (run_dir / "tensorboard").iterdir()
  for tag in (b"loss", b"psnr_y", b"validation/chelsea", b"PNG"):
    assert tag in events.read_bytes()


def test_evaluate_prints_the_runs_own_scores(finished, script):
  run_dir, _ = finished
  code, out, err = finish(script("evaluate.py", f"--run_dir={run_dir}"))
  assert code == 0, err
  summary = json.loads((run_dir / "summary.json").read_text())
  (row,) = json.loads((run_dir / "results.json").read_text())
  assert row["psnr_y"] == pytest.approx(summary["psnr_y"], abs=1e-4)
  assert "mean" in out


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_cut_off_and_resumed_is_the_run_that_was_not(
  finished, pictures, script, tmp_path, number
):
  flags = folder_flags(pictures, tmp_path / "run")
  process = script("train.py", *flags)
  while process.poll() is None and not (
    (tmp_path / "run" / "metrics.jsonl").exists()
    and len((tmp_path / "run" / "metrics.jsonl").read_text()) > 10
  ):
    time.sleep(0.005)
  process.send_signal(number)
  code, _, _ = finish(process)
  assert code in (0, -9) if number == signal.SIGKILL else code in (0, 143)
  code, out, err = finish(script("train.py", *flags))
  assert code == 0, err
  assert rows(tmp_path / "run") == rows(finished[0])
  ours, theirs = (
    json.loads((d / "summary.json").read_text())
    for d in (tmp_path / "run", finished[0])
  )
  assert ours == theirs


def test_four_devices_log_the_losses_of_one(
  finished, pictures, script, tmp_path
):
  flags = folder_flags(pictures, tmp_path / "run")
  code, _, err = finish(script("train.py", *flags, devices=4))
  assert code == 0, err
  one = [r["loss"] for r in rows(finished[0]) if "loss" in r]
  four = [r["loss"] for r in rows(tmp_path / "run") if "loss" in r]
  np.testing.assert_allclose(four, one, rtol=1e-4)


def refused(process, *words):
  code, out, err = finish(process)
  lines = [line for line in err.splitlines() if "error:" in line]
  assert code == 2, err
  assert "Traceback" not in err
  assert len(lines) == 1
  for word in words:
    assert word in lines[0]


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (["--model=resnet"], ["unknown model 'resnet'", "pan"]),
    (["--attn=vit"], ["unknown attention 'vit'", "bam"]),
    (["--scale=5"], ["unknown scale 5"]),
    (["--data=cifar"], ["unknown data 'cifar'"]),
    (["--options=depth=3"], ["no hyper-parameter depth"]),
    (["--options=blocks"], ["FIELD=VALUE"]),
    (["--config.optim.schedule=fast"], ["unknown schedule"]),
    (["--batch_size=0"], ["batch_size"]),
    (["--steps=many"], ["many"]),
    (["--config.nothing=1"], ["nothing"]),
    (["--data_dir=absent"], ["there is no folder absent"]),
  ],
)
def test_a_mistake_gets_one_line(script, pictures, tmp_path, flags, words):
  base = folder_flags(pictures, tmp_path / "run")
  refused(script("train.py", *base, *flags), *words)
  assert not (tmp_path / "run" / "checkpoints").exists()


def test_div2k_out_of_reach_names_the_ways_out(script, tmp_path):
  # A proxy that is not there: the same where there is a network.
  nowhere = "http://127.0.0.1:9"
  process = script(
    "train.py",
    "--model=edsr",
    "--attn=bam",
    "--scale=2",
    f"--data_dir={tmp_path}",
    f"--run_dir={tmp_path / 'run'}",
    https_proxy=nowhere,
  )
  refused(
    process, "--data_dir", "--data=folder", "--config=configs/quickstart.py"
  )


def test_a_run_folder_of_another_model_is_left_alone(
  finished, pictures, script
):
  before = (finished[0] / "config.json").read_text()
  flags = folder_flags(pictures, finished[0])
  flags += ["--model=edsr", "--options=blocks=1"]
  refused(script("train.py", *flags), "another run", "model: 'pan' there")
  assert (finished[0] / "config.json").read_text() == before


def test_bad_pictures_among_good_ones_are_warned_of(pictures, script, tmp_path):
  folder = tmp_path / "mixed"
  shutil.copytree(pictures, folder)
  data = (folder / "coffee.png").read_bytes()
  (folder / "cut.png").write_bytes(data[: len(data) // 2])
  (folder / "text.png").write_text("no picture")
  Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(folder / "small.png")
  gray = skimage.data.camera()[:96, :96]
  Image.fromarray(gray).save(folder / "gray.png")
  Image.fromarray(gray).convert("RGBA").save(folder / "rgba.png")
  flags = folder_flags(folder, tmp_path / "run", steps=2)
  flags[-3] = f"--val_dir={pictures}"
  code, _, err = finish(script("train.py", *flags))
  assert code == 0, err
  for name in ("cut.png", "text.png", "small"):
    assert f"left out: {name}" in err or name in err
  assert "gray" not in err and "rgba" not in err


def test_a_folder_of_bad_pictures_only_is_an_error(script, pictures, tmp_path):
  folder = tmp_path / "bad"
  folder.mkdir()
  (folder / "text.png").write_text("no picture")
  flags = folder_flags(folder, tmp_path / "run")
  flags[-3] = f"--val_dir={pictures}"
  refused(script("train.py", *flags), "no picture to train on is left")
