"""train.py and evaluate.py, end to end, as users run them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
from PIL import Image
import pytest
import skimage.data

import scripts
from scripts import newest
from scripts import rows
from scripts import tiny_run

STEPS = 40


@pytest.fixture
def start(kept_environment, tmp_path):
  def start(*flags, name="train.py", devices=1, **environment):
    count = f"--xla_force_host_platform_device_count={devices}"
    flags_of_xla = f"{os.environ['XLA_FLAGS']} {count}"
    environment = {**kept_environment, "XLA_FLAGS": flags_of_xla, **environment}
    return scripts.Script(name, *flags, cwd=tmp_path, **environment)

  return start


@pytest.fixture(scope="module")
def finished(photographs, kept_environment, tmp_path_factory):
  """An uninterrupted run, and what it printed."""
  run_dir = tmp_path_factory.mktemp("finished")
  flags = tiny_run(photographs, run_dir, STEPS)
  code, out, err = scripts.call("train.py", *flags, **kept_environment)
  assert code == 0, err
  return run_dir, out


def test_a_run_leaves_its_scores_and_its_checkpoints(finished):
  run_dir, out = finished
  summary = json.loads((run_dir / "summary.json").read_text())
  assert summary["steps"] == STEPS
  assert summary["parameters"] > 0
  assert {p["name"] for p in summary["images"]} == {"coffee", "chelsea"}
  for name in ("psnr_y", "ssim_y", "bicubic_psnr_y", "bicubic_ssim_y"):
    values = [p[name] for p in summary["images"]]
    assert summary[name] == pytest.approx(np.mean(values))
  assert "bicubic" in out and "gain" in out
  assert json.loads((run_dir / "config.json").read_text())["model"] == "pan"
  assert [r["step"] for r in rows(run_dir)] == [*range(4, 41, 4), STEPS]
  (events,) = (run_dir / "tensorboard").iterdir()
  for tag in (b"loss", b"psnr_y", b"validation/chelsea", b"PNG"):
    assert tag in events.read_bytes()


def content(folder):
  """When each file was written, and how long it is."""
  files = {path: path.stat() for path in folder.rglob("*")}
  return {path: (f.st_mtime_ns, f.st_size) for path, f in files.items()}


def test_evaluate_prints_the_runs_own_scores(finished, start):
  run_dir, _ = finished
  before = content(run_dir)
  process = start(f"--run_dir={run_dir}", name="evaluate.py")
  code, out, err = process.finish()
  assert code == 0, err
  assert content(run_dir) == before
  results = run_dir.with_name(f"{run_dir.name}-results")
  summary = json.loads((run_dir / "summary.json").read_text())
  (row,) = json.loads((results / "results.json").read_text())
  assert row["psnr_y"] == pytest.approx(summary["psnr_y"], abs=1e-4)
  assert "mean" in out


def test_python_runs_the_script(finished, photographs, tmp_path):
  # With oneDNN's convolutions, where a program kept in a folder has XLA's.
  flags = tiny_run(photographs, tmp_path / "run", 4)
  environment = {**os.environ, "PYTHONPATH": "", "XLA_FLAGS": ""}
  environment.pop("JAX_COMPILATION_CACHE_DIR", None)
  done = subprocess.run(
    [sys.executable, str(scripts.ROOT / "train.py"), *flags],
    cwd=tmp_path,
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  first, last = rows(tmp_path / "run")
  assert first["loss"] == pytest.approx(rows(finished[0])[0]["loss"], rel=1e-4)
  assert last["psnr_y"] > 20


# Also if JAX_ENABLE_X64 is set for one of its two parts.
@pytest.mark.parametrize(
  ("number", "wide"), [(signal.SIGKILL, (0, 1)), (signal.SIGTERM, (1, 0))]
)
def test_an_interrupted_and_resumed_run_is_bit_identical(
  finished, photographs, start, tmp_path, number, wide
):
  run_dir = tmp_path / "run"
  flags = tiny_run(photographs, run_dir, STEPS)
  process = start(*flags, JAX_ENABLE_X64=str(wide[0]))
  while process.running() and not (
    (run_dir / "metrics.jsonl").exists() and rows(run_dir)
  ):
    time.sleep(0.001)
  process.send_signal(number)
  code, _, err = process.finish()
  assert code == (-9 if number == signal.SIGKILL else 143), err
  # A kill may come before any checkpoint; SIGTERM saves one.
  assert newest(run_dir) < STEPS
  assert not (run_dir / "summary.json").exists()
  code, out, err = start(*flags, JAX_ENABLE_X64=str(wide[1])).finish()
  assert code == 0, err
  assert "resuming from step" in out or number == signal.SIGKILL
  assert rows(run_dir) == rows(finished[0])
  ours, theirs = (
    json.loads((d / "summary.json").read_text()) for d in (run_dir, finished[0])
  )
  assert ours == theirs


@pytest.mark.slow
def test_four_devices_log_the_losses_of_one(
  finished, photographs, start, tmp_path
):
  flags = tiny_run(photographs, tmp_path / "run", 8)
  code, _, err = start(*flags, devices=4).finish()
  assert code == 0, err
  one, four = (
    [r["loss"] for r in rows(d) if "loss" in r][:2]
    for d in (finished[0], tmp_path / "run")
  )
  np.testing.assert_allclose(four, one, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["tfdata", "resident"])
def test_two_cpu_devices_train_many_steps_between_logs(
  photographs, start, tmp_path, mode
):
  flags = tiny_run(photographs, tmp_path / "run", 600)
  flags += [f"--data_mode={mode}", "--config.log_every=300"]
  # Without a bound, XLA aborts (status −6) in a collective after 40 s.
  code, _, err = start(
    *flags, "--config.checkpoint_every=600", devices=2
  ).finish()
  assert code == 0, err
  assert "rendezvous" not in err


def refused(process, *words):
  code, out, err = process.finish()
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
    (["--scale=5"], ["choose from 2, 3, 4, 8"]),
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
def test_a_mistake_gets_one_line(start, photographs, tmp_path, flags, words):
  base = tiny_run(photographs, tmp_path / "run", 8)
  refused(start(*base, *flags), *words)
  assert not (tmp_path / "run" / "checkpoints").exists()


def test_unreachable_div2k_names_the_alternatives(start, tmp_path):
  # A proxy that does not exist: the test works with and without a network.
  nowhere = "http://127.0.0.1:9"
  process = start(
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
  finished, photographs, start
):
  before = (finished[0] / "config.json").read_text()
  flags = tiny_run(photographs, finished[0], STEPS)
  flags = [flag for flag in flags if not flag.startswith("--options")]
  flags += ["--model=edsr", "--options=blocks=1"]
  refused(start(*flags), "another run", "model: 'pan' there")
  assert (finished[0] / "config.json").read_text() == before


def test_bad_images_among_good_ones_are_skipped(photographs, start, tmp_path):
  folder = tmp_path / "mixed"
  shutil.copytree(photographs, folder)
  data = (folder / "coffee.png").read_bytes()
  (folder / "cut.png").write_bytes(data[: len(data) // 2])
  (folder / "text.png").write_text("no image")
  Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(folder / "small.png")
  gray = skimage.data.camera()[:96, :96]
  Image.fromarray(gray).save(folder / "gray.png")
  Image.fromarray(gray).convert("RGBA").save(folder / "rgba.png")
  flags = tiny_run(folder, tmp_path / "run", 2)
  flags.append(f"--val_dir={photographs}")
  code, _, err = start(*flags).finish()
  assert code == 0, err
  warnings = [line for line in err.splitlines() if "skipped" in line]
  assert len(warnings) == 3
  for name in ("cut.png", "text.png", "small"):
    assert sum(name in line for line in warnings) == 1, err
  assert "gray" not in err and "rgba" not in err


def test_a_folder_of_bad_images_only_is_an_error(start, photographs, tmp_path):
  folder = tmp_path / "bad"
  folder.mkdir()
  (folder / "text.png").write_text("no image")
  flags = tiny_run(folder, tmp_path / "run", 8)
  flags.append(f"--val_dir={photographs}")
  refused(start(*flags), "no usable training image")
