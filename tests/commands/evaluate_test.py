"""evaluate.py, end to end: published weights give the literature's digits."""

import json
import os
from pathlib import Path
import shutil
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest

from bamjax.commands import evaluate
from bamjax.errors import UserError
from bamjax.evaluation.protocols import PROTOCOLS
from bamjax.images import resize
from bamjax.images import rgb
from bamjax.layers.cpu import onednn
import scripts
from shared import needs_shared
from shared import SHARED

ROOT = Path(__file__).resolve().parents[2]
SET5 = SHARED / "benchmarks" / "Set5"
WEIGHTS = SHARED / "weights"

# Set5, PSNR-Y and SSIM-Y as printed: the literature's, and the same weights
# under the paper's protocol.
PRINTED = {
  ("imdn_x2", 2): ((38.00, 0.9605), (38.05, 0.9608)),
  ("imdn_x4", 4): ((32.21, 0.8948), (32.25, 0.8954)),
  ("pan_x2", 2): ((38.00, 0.9605), (38.06, 0.9608)),
  ("pan_x4", 4): ((32.13, 0.8948), (32.18, 0.8954)),
  ("carn_m_group4_x2x3x4", 2): ((37.68, 0.9595), (37.73, 0.9598)),
  ("carn_m_group4_x2x3x4", 3): ((34.06, 0.9248), (34.78, 0.9386)),
  ("carn_m_group4_x2x3x4", 4): ((31.88, 0.8910), (31.93, 0.8915)),
}

QUICK = (("imdn_x4", 4),)


def run(output, **options):
  """Rows of results.json that a session writes."""
  evaluate.run(evaluate.Options(output=str(output), **options))
  return json.loads((output / "results.json").read_text())


def test_degraded_lr_has_rows_of_its_own(photographs, tmp_path, capsys):
  folder = shutil.copytree(photographs, tmp_path / "Set5")
  names = [None, "noise:15", "jpeg:40"]
  run(tmp_path, weights=["pan-bam-x2"], benchmarks=[str(folder)])
  rows = run(
    tmp_path,
    weights=["pan-bam-x2"],
    benchmarks=[str(folder)],
    degradation=["bicubic", *names[1:]],
  )
  assert [row["degradation"] for row in rows] == names
  clean, *degraded = [row["bicubic_psnr_y"] for row in rows]
  assert all(psnr < clean - 0.5 for psnr in degraded)
  printed = capsys.readouterr().out
  assert "on Set5 with jpeg:40, protocol matlab" in printed
  assert printed.count("paper: pan with BAM") == 2  # not for degraded LR
  with pytest.raises(UserError, match="--degradation is for networks"):
    run(
      tmp_path,
      outputs=[str(folder)],
      benchmarks=[str(folder)],
      degradation=["jpeg:40"],
    )


def digits(row):
  return round(row["psnr_y"], 2), round(row["ssim_y"], 4)


@needs_shared
@pytest.mark.parametrize(
  ("name", "scale"),
  [
    # At ×4 there are the fewest LR pixels.
    pytest.param(*key, marks=() if key in QUICK else pytest.mark.slow)
    for key in PRINTED
  ],
)
def test_published_weights_give_the_published_digits(name, scale, tmp_path):
  hr_only = tmp_path / "Set5"
  shutil.copytree(SET5 / "HR", hr_only)
  given, made = (
    run(
      tmp_path / lr,
      weights=[str(WEIGHTS / f"{name}.safetensors")],
      scale=[scale],
      benchmarks=[str(folder)],
      protocol=["matlab", "bam"],
    )
    for lr, folder in (("given", SET5), ("made", hr_only))
  )
  for rows in (given, made):
    assert [row["protocol"] for row in rows] == ["matlab", "bam"]
    assert [row["benchmark"] for row in rows] == ["Set5", "Set5"]
    assert tuple(digits(row) for row in rows) == PRINTED[name, scale]
    assert len(rows[0]["images"]) == 5
  if name.startswith("carn") and scale == 3:
    assert round(given[1]["psnr_y"], 4) == 34.7846


@needs_shared
@pytest.mark.slow
def test_pytorch_files_give_the_same(tmp_path):
  pytest.importorskip("torch")
  (row,) = run(
    tmp_path, weights=[str(WEIGHTS / "pan_x4.pth")], benchmarks=[str(SET5)]
  )
  assert digits(row) == (32.13, 0.8948)


@needs_shared
@pytest.mark.slow
def test_self_ensemble_gains(tmp_path):
  options = {
    "weights": [str(WEIGHTS / "imdn_x4.safetensors")],
    "benchmarks": [str(SET5)],
  }
  plain, plus = (
    run(tmp_path / str(on), self_ensemble=on, **options)[0]
    for on in (False, True)
  )
  assert plus["self_ensemble"]
  assert 0.03 < plus["psnr_y"] - plain["psnr_y"] < 0.3


@needs_shared
def test_two_files_are_compared_image_by_image(tmp_path, capsys):
  a, b = (str(WEIGHTS / f"{n}_x4.safetensors") for n in ("imdn", "pan"))
  rows = run(tmp_path, compare=[a, b], benchmarks=[str(SET5)])
  (found,) = json.loads((tmp_path / "comparison.json").read_text())
  assert (found["a"], found["b"]) == (a, b)
  imdn, pan = ({i["name"]: i["psnr_y"] for i in r["images"]} for r in rows)
  for image in found["images"]:
    name = image["name"]
    assert image["psnr_y"] == pytest.approx(pan[name] - imdn[name])
  psnr = found["psnr_y"]
  assert psnr["difference"] == pytest.approx(
    rows[1]["psnr_y"] - rows[0]["psnr_y"]
  )
  assert psnr["low"] <= psnr["difference"] <= psnr["high"]
  assert "95 % confidence interval" in capsys.readouterr().out


def lay(folder, **images):
  folder.mkdir(parents=True, exist_ok=True)
  for name, array in images.items():
    Image.fromarray(array).save(folder / f"{name}.png")
  return folder


def smooth(height, width, seed=0):
  small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
  image = Image.fromarray(small).resize((width, height), Image.BICUBIC)
  return np.asarray(image)


def test_a_run_is_scored_on_its_own_images(finished_run, tmp_path):
  (row,) = run(tmp_path, run_dir=[str(finished_run)])
  summary = json.loads((finished_run / "summary.json").read_text())
  assert row["benchmark"] == "folder validation"
  assert row["psnr_y"] == pytest.approx(summary["psnr_y"], abs=1e-4)
  assert (row["model"], row["attn"], row["step"]) == ("pan", "bam", 2)


def test_a_runs_results_are_beside_it(finished_run, tmp_path, monkeypatch):
  run_dir = shutil.copytree(finished_run, tmp_path / "run")
  names = sorted(path.name for path in run_dir.rglob("*"))
  evaluate.run(evaluate.Options(run_dir=[f"{run_dir}/"]))
  assert sorted(path.name for path in run_dir.rglob("*")) == names
  assert (tmp_path / "run-results" / "results.json").is_file()
  monkeypatch.chdir(run_dir)
  assert evaluate.Options(run_dir=["."]).folder == tmp_path / "run-results"
  several = evaluate.Options(run_dir=["a", "b"])
  assert several.folder == Path("results")


def test_images_are_saved(finished_run, tmp_path):
  folder = lay(tmp_path / "mine", one=smooth(41, 50))
  run(
    tmp_path / "out",
    run_dir=[str(finished_run)],
    benchmarks=[str(folder)],
    protocol=["matlab", "bam"],
    save_images=True,
  )
  root = tmp_path / "out" / "images" / "mine" / "pan-bam-x2"
  shapes = {
    path.parent.name: rgb.read_rgb(path).shape
    for path in root.glob("*/one.png")
  }
  assert shapes == {"matlab": (40, 50, 3), "pillow": (40, 50, 3)}


def test_networks_of_one_title_and_sets_of_one_name_are_kept_apart(
  finished_run, tmp_path
):
  other = shutil.copytree(finished_run, tmp_path / "other")
  sets = [
    str(lay(tmp_path / name / "mine", one=smooth(40, 50, seed)))
    for seed, name in enumerate("ab")
  ]
  status = evaluate.run(
    evaluate.Options(
      compare=[str(finished_run), str(other)],
      benchmarks=[*sets, f"{sets[0]}/"],
      save_images=True,
      output=str(tmp_path / "out"),
    )
  )
  assert status == 0
  rows = json.loads((tmp_path / "out" / "results.json").read_text())
  assert len({row["saved"] for row in rows}) == len(rows) == 4
  for row in rows:
    assert (tmp_path / "out" / row["saved"] / "matlab" / "one.png").is_file()
  found = json.loads((tmp_path / "out" / "comparison.json").read_text())
  assert [each["psnr_y"]["difference"] for each in found] == [0, 0]


def test_gray_images_are_scored_as_rgb(finished_run, tmp_path):
  gray = smooth(40, 50)[..., 0]
  rgb = np.repeat(gray[..., None], 3, axis=2)
  first, second = (
    run(
      tmp_path / name,
      run_dir=[str(finished_run)],
      benchmarks=[str(lay(tmp_path / "images" / name, one=image))],
    )[0]
    for name, image in (("gray", gray), ("rgb", rgb))
  )
  assert first["psnr_y"] == second["psnr_y"]


def test_lr_alone_is_upscaled_and_not_scored(finished_run, tmp_path, capsys):
  folder = tmp_path / "real"
  lay(folder / "LR", one=smooth(20, 30))
  (row,) = run(
    tmp_path / "out",
    run_dir=[str(finished_run)],
    benchmarks=[str(folder)],
    save_images=True,
  )
  assert row["psnr_y"] is None and row["benchmark"] == "real"
  assert "not scored" in capsys.readouterr().out
  (path,) = (tmp_path / "out" / "images").rglob("one.png")
  assert rgb.read_rgb(path).shape == (40, 60, 3)


def test_bad_images_are_left_out(finished_run, tmp_path, caplog):
  folder = lay(tmp_path / "mixed", good=smooth(40, 50), tiny=smooth(8, 8))
  (folder / "text.png").write_text("no image")
  empty = tmp_path / "empty"
  empty.mkdir()
  status = evaluate.run(
    evaluate.Options(
      run_dir=[str(finished_run)],
      weights=[str(folder / "text.png")],
      benchmarks=[str(empty), str(folder)],
      output=str(tmp_path / "out"),
    )
  )
  assert status == 1
  (row,) = json.loads((tmp_path / "out" / "results.json").read_text())
  assert [image["name"] for image in row["images"]] == ["good"]
  assert row["left_out"] == ["text", "tiny"]
  for bad in ("text.png cannot", "tiny", "empty", "left out: " + str(folder)):
    assert bad in caplog.text


def made_from(folder, test_set, *names, degradation="matlab"):
  """SR images in a folder: bicubic's, ×2, of what a protocol makes LR from."""
  folder.mkdir(parents=True, exist_ok=True)
  pair = PROTOCOLS[degradation].degradation.pair
  for name in names:
    lr, _ = pair(rgb.read_rgb(test_set / f"{name}.png"), None, 2)
    Image.fromarray(resize.upscale(lr, 2)).save(folder / f"{name}_x2_SR.png")
  return folder


def test_images_of_any_program_are_scored_and_compared(
  finished_run, tmp_path, capsys, caplog
):
  test_set = lay(tmp_path / "mine", one=smooth(41, 51), two=smooth(47, 49, 1))
  whole = made_from(tmp_path / "whole", test_set, "one", "two")
  part = made_from(tmp_path / "part", test_set, "two", degradation="bam")
  status = evaluate.run(
    evaluate.Options(
      run_dir=[str(finished_run)],
      outputs=[str(whole), str(part)],
      benchmarks=[str(test_set)],
      protocol=["matlab", "bam"],
      output=str(tmp_path / "out"),
    )
  )
  assert status == 1 and "part has no file for 1 of the 2 images" in caplog.text
  rows = json.loads((tmp_path / "out" / "results.json").read_text())
  assert [row["source"] for row in rows] == [
    str(source) for source in (finished_run, whole, part) for _ in range(2)
  ]
  assert rows[4]["left_out"] == ["one"] and rows[4]["parameters"] is None
  assert {i["made_from"] for i in rows[2]["images"]} == {"cropped"}
  text = capsys.readouterr().out
  assert "made from HR resized to a multiple of 2" in text
  # Bicubic's images score as bicubic does.
  for image in rows[2]["images"]:
    assert image["psnr_y"] == pytest.approx(image["bicubic_psnr_y"], abs=1e-4)
  for b, want in ((finished_run, ["one", "two"]), (part, ["two"])):
    evaluate.run(
      evaluate.Options(
        compare=[str(whole), str(b)],
        benchmarks=[str(test_set)],
        output=str(tmp_path / "compared"),
      )
    )
    (found,) = json.loads((tmp_path / "compared/comparison.json").read_text())
    assert (found["a"], found["b"]) == (str(whole), str(b))
    assert [image["name"] for image in found["images"]] == want


def test_images_are_compared_at_the_networks_scale(finished_run, tmp_path):
  # Their names say nothing.
  test_set = lay(tmp_path / "mine", one=smooth(48, 64), two=smooth(64, 48, 1))
  made = made_from(tmp_path / "made", test_set, "one", "two")
  for path in made.iterdir():
    path.rename(made / path.name.replace("x2_SR", "other"))
  with pytest.raises(UserError, match="after the scale.*: pass --scale"):
    evaluate.run(
      evaluate.Options(outputs=[str(made)], benchmarks=[str(test_set)])
    )
  evaluate.run(
    evaluate.Options(
      compare=[str(made), str(finished_run)],
      benchmarks=[str(test_set)],
      output=str(tmp_path / "out"),
    )
  )
  (found,) = json.loads((tmp_path / "out/comparison.json").read_text())
  assert found["scale"] == 2 and len(found["images"]) == 2


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"benchmarks": []}, "need --benchmarks=DIR"),
    ({"scale": [2, 3]}, "have one scale each"),
    ({"outputs": ["absent"]}, "there is no folder absent"),
    ({"self_ensemble": True}, "--self_ensemble is for networks"),
    ({"scale": [3]}, "named as ×2, not ×3"),
  ],
)
def test_mistakes_with_images(tmp_path, options, message):
  test_set = lay(tmp_path / "mine", one=smooth(41, 51))
  made = made_from(tmp_path / "made", test_set, "one")
  options = {"outputs": [str(made)], "benchmarks": [str(test_set)], **options}
  with pytest.raises(UserError, match=message):
    evaluate.run(evaluate.Options(output=str(tmp_path / "out"), **options))


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({}, "no network: use --run_dir=DIR or --weights=FILE"),
    ({"weights": ["absent.pth"]}, "no such file"),
    ({"run_dir": ["RUN"], "protocol": ["rgb"]}, "unknown protocol 'rgb'"),
    ({"run_dir": ["RUN"], "scale": [3]}, "a run of scale 2, not 3"),
    ({"run_dir": ["RUN"], "benchmarks": ["absent"]}, "there is no folder"),
    ({"run_dir": ["RUN"], "tile": -1}, "--tile"),
    (
      {"run_dir": ["RUN"], "output": __file__},
      "results.json cannot be written",
    ),
    ({"compare": ["RUN"]}, "two runs or files"),
    ({"compare": ["RUN", "RUN"], "run_dir": ["RUN"]}, "--compare excludes"),
  ],
)
def test_mistakes(finished_run, tmp_path, options, message):
  options = {
    key: [str(finished_run) if v == "RUN" else v for v in value]
    if isinstance(value, list)
    else value
    for key, value in options.items()
  }
  output = options.pop("output", str(tmp_path))
  with pytest.raises(UserError, match=message):
    evaluate.run(evaluate.Options(output=output, **options))
  assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("name", ["results.md", "results.csv"])
def test_nothing_is_scored_that_cannot_be_written(finished_run, tmp_path, name):
  (tmp_path / name).mkdir()
  options = {"run_dir": [str(finished_run)], "output": str(tmp_path)}
  with pytest.raises(UserError, match=f"{name} is not a file"):
    evaluate.run(evaluate.Options(**options))
  assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_script_prints_and_writes(finished_run, tmp_path):
  folder = lay(tmp_path / "mine", one=smooth(40, 50), two=smooth(44, 48, 1))
  command = [
    sys.executable,
    str(ROOT / "evaluate.py"),
    f"--run_dir={finished_run}",
    f"--benchmarks={folder}",
    "--protocol=matlab,bam,ntire",
    f"--output={tmp_path / 'out'}",
  ]
  environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
  environment.pop("JAX_COMPILATION_CACHE_DIR", None)
  done = subprocess.run(
    command, env=environment, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.count("mean of 2") == 3
  # What was compiled is kept for the next run, unless oneDNN is in it.
  kept = list((tmp_path / "cache" / "bamjax").rglob("jit_scores-*"))
  assert bool(kept) != onednn.works()
  rows = json.loads((tmp_path / "out" / "results.json").read_text())
  assert [r["protocol"] for r in rows] == ["matlab", "bam", "ntire"]
  done = scripts.call("evaluate.py", command[2], "--benchmarks=absent")
  assert done.code == 2
  assert done.err == "evaluate.py: error: there is no folder absent\n"
