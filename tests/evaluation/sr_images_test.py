"""SR images of any program are scored like those of a network."""

import math

import numpy as np
from PIL import Image
import pytest
import skimage.data

from bamjax.data.sr_files import find_sr_files
from bamjax.errors import UserError
from bamjax.evaluation import comparison
from bamjax.evaluation import protocols
from bamjax.evaluation import result_files
from bamjax.evaluation import results
from bamjax.evaluation import scoring
from bamjax.evaluation import sr_images
from bamjax.images import resize
from bamjax.images import rgb
from shared import needs_shared
from shared import SHARED

ALL = protocols.find(["matlab", "bam", "ntire"])
SCALE = 4
SIZE = (105, 131)  # not multiples of 4


def original(name, size=SIZE):
  return getattr(skimage.data, name)()[: size[0], : size[1]]


@pytest.fixture
def test_set(tmp_path):
  folder = tmp_path / "Mine" / "HR"
  folder.mkdir(parents=True)
  for name in ("astronaut", "chelsea", "coffee"):
    Image.fromarray(original(name)).save(folder / f"{name}.png")
  return folder.parent


def upscale(lr):
  """In 8 bits, as from a file."""
  lr = np.asarray(np.rint(lr * 255), np.uint8)
  return resize.upscale(lr, SCALE) / np.float32(255)


def make(folder, degradation, *names, suffix="_x4"):
  """Writes bicubic's images, made from what a protocol makes LR from."""
  folder.mkdir(exist_ok=True)
  for name in names:
    lr, _ = degradation.pair(original(name), None, SCALE)
    sr = resize.upscale(lr, SCALE)
    Image.fromarray(sr).save(folder / f"{name}{suffix}.png")
  return folder


CROPPED = protocols.PROTOCOLS["matlab"].degradation
RESIZED = protocols.PROTOCOLS["bam"].degradation
NAMES = ("astronaut", "chelsea", "coffee")


def evaluated(source, test_set, wanted=ALL):
  benchmark, sr_files = find_sr_files(source, test_set)
  found = sr_images.evaluate(sr_files, benchmark, wanted)
  return {
    p.name: results.make_sr_row(sr_files, benchmark, p, found[p.name])
    for p in wanted
  }


def test_files_score_as_the_network_that_made_them(tmp_path, test_set):
  benchmark, _ = find_sr_files(
    make(tmp_path / "made", CROPPED, *NAMES), test_set
  )
  (want,) = scoring.evaluate(upscale, benchmark.images, SCALE).values()
  found = evaluated(tmp_path / "made", test_set)["matlab"]
  for key in results.SCORES:
    assert found[key] == pytest.approx(want[key], abs=1e-5)
  for image, expected in zip(found["images"], want["images"], strict=True):
    assert image["name"] == expected["name"]
    assert image["psnr_y"] == pytest.approx(expected["psnr_y"], abs=1e-5)


def test_a_protocol_compares_with_its_own_hr_and_luma(tmp_path, test_set):
  found = evaluated(make(tmp_path / "made", CROPPED, *NAMES), test_set)
  for protocol in ALL:
    for image in found[protocol.name]["images"]:
      _, hr = protocol.degradation.pair(original(image["name"]), None, SCALE)
      sr = rgb.read_rgb(tmp_path / "made" / f"{image['name']}_x4.png")
      want = protocol.score(sr, hr, SCALE)
      assert {key: image[key] for key in want} == pytest.approx(want)


@pytest.mark.parametrize(
  ("kind", "degradation"), [("cropped", CROPPED), ("resized", RESIZED)]
)
def test_the_hr_that_images_were_made_from(
  tmp_path, test_set, kind, degradation
):
  source = make(tmp_path / "made", degradation, *NAMES)
  rows = evaluated(source, test_set)
  assert {i["made_from"] for i in rows["matlab"]["images"]} == {kind}
  # Sharper evidence than the scores against HR.
  row = rows["matlab"]
  gap = row["lr_cropped"] - row["lr_resized"]
  assert abs(gap) > 2 and (gap > 0) == (kind == "cropped")
  texts = {name: results.table(row).text() for name, row in rows.items()}
  for text in texts.values():
    assert "made from HR" in text
    assert f"3 of 3 SR images are made from HR {kind} to a multiple" in text
  other = {"cropped": "bam", "resized": "matlab"}[kind]
  same = {"cropped": "matlab", "resized": "bam"}[kind]
  assert "are not those of the network" in texts[other]
  assert "are not those of the network" not in texts[same]


@needs_shared
def test_the_authors_published_images():
  folder = SHARED / "benchmarks"
  ids = ["189080", "253027", "69015", "86000"]
  want = {
    # PSNR-Y against cropped and against resized HR.
    "imdn_with_bam": (
      [31.12, 22.18, 29.39, 25.06],
      [35.99, 23.58, 31.48, 27.26],
    ),
    "imdn_without_bam": (
      [35.06, 22.62, 30.76, 26.05],
      [31.38, 23.08, 29.94, 26.13],
    ),
  }
  for name, (cropped, resized) in want.items():
    benchmark, sr_files = find_sr_files(
      folder / "BAM_outputs" / name, folder / "BSD100", 4
    )
    found = sr_images.evaluate(sr_files, benchmark, ALL[:2])
    images = {i["name"]: i for i in found["matlab"]["images"]}
    assert [round(images[i]["psnr_y"], 2) for i in ids] == cropped
    assert [round(images[i]["hr_cropped"], 2) for i in ids] == cropped
    assert [round(images[i]["hr_resized"], 2) for i in ids] == resized
    # Two images without BAM score higher against the HR they aren't made from.
    made_from = "resized" if name == "imdn_with_bam" else "cropped"
    assert {image["made_from"] for image in images.values()} == {made_from}
    if name == "imdn_with_bam":
      scores = {i["name"]: i["psnr_y"] for i in found["bam"]["images"]}
      want_bam = [36.03, 23.62, 31.52, 27.30]
      assert [round(scores[i], 2) for i in ids] == want_bam


def test_sizes_that_are_multiples_leave_one_hr(tmp_path):
  folder = tmp_path / "Mine"
  folder.mkdir()
  Image.fromarray(original("coffee", (80, 96))).save(folder / "coffee.png")
  made = tmp_path / "made"
  made.mkdir()
  Image.fromarray(original("coffee", (80, 96))).save(made / "coffee_x4.png")
  row = evaluated(made, folder)["matlab"]
  (image,) = row["images"]
  assert image["made_from"] is None and row["hr_cropped"] is None
  assert image["psnr_y"] == math.inf
  assert "made from" not in results.table(row).text()


def test_neither_hr(tmp_path, test_set):
  rng = np.random.default_rng(0)
  made = tmp_path / "made"
  made.mkdir()
  noise = rng.integers(0, 256, (104, 128, 3), np.uint8)
  Image.fromarray(noise).save(made / "coffee_x4.png")
  row = evaluated(made, test_set)["matlab"]
  (image,) = row["images"]
  assert image["made_from"] == "unclear"
  assert "may be made from cropped or from resized" in results.table(row).text()


def test_what_is_at_fault_is_named_and_left_out(tmp_path, test_set, caplog):
  source = make(tmp_path / "made", CROPPED, "coffee")
  Image.fromarray(original("chelsea")).save(source / "chelsea_x4.png")
  row = evaluated(source, test_set)["matlab"]
  assert row["left_out"] == ["astronaut", "chelsea"]
  assert [image["name"] for image in row["images"]] == ["coffee"]
  assert "no file for 1 of the 3 images of Mine: astronaut" in caplog.text
  assert "chelsea_x4.png is 131×105; at ×4 it should be 128×104" in caplog.text
  (source / "chelsea_x4.png").write_text("no image")
  (source / "coffee_x4.png").unlink()
  with pytest.raises(scoring.NothingScored):
    evaluated(source, test_set)
  assert "chelsea_x4.png cannot" in caplog.text


def test_rows_are_kept_with_those_of_networks(tmp_path, test_set):
  rows = evaluated(make(tmp_path / "made", CROPPED, *NAMES), test_set)
  other = evaluated(make(tmp_path / "more", RESIZED, *NAMES), test_set)
  out = tmp_path / "out"
  result_files.write(out, [*rows.values(), *other.values()])
  result_files.write(out, [rows["matlab"]])
  found = result_files.read(out)
  assert len(found) == 6
  assert {row["path"] for row in found} == {
    str((tmp_path / name).resolve()) for name in ("made", "more")
  }
  for row in found:
    assert row["parameters"] is None and results.is_sr(row)
  assert "images of" in (out / "results.md").read_text()
  assert "made_from" in (out / "results.csv").read_text().splitlines()[0]


def test_a_part_of_a_test_set_is_compared_by_what_both_have(
  tmp_path, test_set, caplog
):
  whole = evaluated(make(tmp_path / "whole", CROPPED, *NAMES), test_set)
  part = evaluated(make(tmp_path / "part", RESIZED, "chelsea"), test_set)
  found = comparison.compare(whole["matlab"], part["matlab"])
  assert [image["name"] for image in found["images"]] == ["chelsea"]
  assert "compared on 1 image of Mine, which both have" in caplog.text
  assert found["b"] == str(tmp_path / "part")
  other = {**part["matlab"], "images": []}
  with pytest.raises(UserError, match="no image of Mine in common"):
    comparison.compare(whole["matlab"], other)
