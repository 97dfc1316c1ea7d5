"""What a run validates on, and what it notes of its data."""

import json
import logging
import shutil

import numpy as np
import pytest

from bamjax.commands import selection
from bamjax.data import cache
from bamjax.data.crops import CropStore
from bamjax.data.sources import ImagePair
from bamjax.errors import UserError
from bamjax.networks import Network
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import changed
from bamjax.training import run_data
from bamjax.training.validation import Validation

SCALE = 2


def image(name, seed, height=24, width=32):
  rng = np.random.default_rng(seed)
  lr = rng.integers(0, 256, (height // 2, width // 2, 3), dtype=np.uint8)
  hr = np.kron(lr, np.ones((2, 2, 1), np.uint8))
  return ImagePair(name, lambda: (lr, hr))


def broken(name):
  def load():
    raise UserError(f"{name}.png cannot be read")

  return ImagePair(name, load)


def test_what_cannot_be_scored_is_left_out_by_name(caplog):
  given = [
    *(image("tiny", 0, 14, 30), broken("torn"), image("a", 1)),
    *(image("least", 2, 16, 16), image("later", 3)),
  ]
  with caplog.at_level(logging.WARNING):
    validation = Validation(given, SCALE, 4)
  assert validation.names == [kept.name for kept in validation.share]
  assert validation.names == ["a", "least"]
  assert "tiny: too small to be scored: HR is 30×14, less than 15×15" in (
    caplog.text
  )
  assert "torn.png cannot be read" in caplog.text
  assert [p.name for p in validation.all()] == ["a", "least", "later"]
  with pytest.raises(UserError, match="none of the validation images"):
    Validation(given[:2], SCALE)


def test_flat_images_count_in_no_mean_psnr(caplog):
  flat = np.full((24, 32, 3), 9, np.uint8)
  given = [ImagePair("flat", lambda: (flat[::2, ::2], flat)), image("v", 2)]
  with caplog.at_level(logging.WARNING):
    validation = Validation(given, SCALE)
  assert "flat has a single color" in caplog.text
  rows = [{"psnr_y": 60.0, "ssim_y": 1.0}, {"psnr_y": 30.0, "ssim_y": 0.5}]
  assert validation.mean("psnr_y", rows) == 30
  assert validation.mean("ssim_y", rows) == 0.75
  rows[1]["psnr_y"] = np.inf
  assert validation.mean("psnr_y", rows) == np.inf


def test_what_was_read_is_kept_in_memory():
  loads = []

  def load():
    loads.append(1)
    return image("a", 1).load()

  (kept,) = Validation([ImagePair("a", load)], SCALE).all()
  np.testing.assert_array_equal(kept.load()[1], image("a", 1).load()[1])
  assert len(loads) == 1


def test_the_fingerprint_is_of_names_and_contents():
  def fingerprint(*images, limit=0):
    return Validation(images, SCALE, limit).fingerprint()

  a, b = image("a", 1), image("b", 2)
  found = [
    fingerprint(a, b),
    fingerprint(a, image("b", 3)),
    fingerprint(a, image("c", 2)),
    fingerprint(b, a),
    fingerprint(a),
    fingerprint(a, b, limit=1),
    fingerprint(a, image("c", 2), limit=1),
  ]
  assert len(set(found)) == len(found)
  assert fingerprint(image("a", 1), image("b", 2)) == found[0]


def test_the_same_image_twice_counts_twice():
  validation = Validation([image("a", 1), image("b", 1)], SCALE)
  assert validation.names == ["a", "b"]


def store(*images):
  return CropStore(cache.decode(images), 8)


def test_training_images_of_other_content_are_told(tmp_path, caplog):
  validation = Validation([image("v", 9)], SCALE)
  run_data.note(tmp_path, store(image("a", 1), image("b", 2)), validation)
  run_data.note(tmp_path, store(image("a", 1), image("b", 2)), validation)
  assert not caplog.text
  # The same names and sizes.
  run_data.note(tmp_path, store(image("a", 1), image("b", 3)), validation)
  assert "the training images have changed" in caplog.text


def test_images_that_train_and_validate_are_told(tmp_path, caplog):
  validation = Validation([image("v", 2), image("w", 7)], SCALE)
  # By content: another name is no other image.
  run_data.note(tmp_path, store(image("a", 1), image("b", 2)), validation)
  assert "1 of the 2 validation images are also training images (v)" in (
    caplog.text
  )


def test_other_validation_images_are_refused(tmp_path):
  validation = Validation([image("v", 1)], SCALE)
  with pytest.raises(UserError, match="data.json, .* is missing or damaged"):
    run_data.check_validation(tmp_path, validation)
  run_data.note(tmp_path, store(image("a", 2)), validation)
  run_data.check_validation(tmp_path, validation)
  other = Validation([image("v", 3)], SCALE)
  with pytest.raises(UserError, match=f"--init_from={tmp_path}"):
    run_data.check_validation(tmp_path, other)
  for text in (json.dumps({"sha256": "0"}), "[]", "{", "[" * 10**5):
    (tmp_path / "data.json").write_text(text)
    with pytest.raises(UserError, match="restore it from a backup"):
      run_data.check_validation(tmp_path, validation)


def test_a_run_is_not_scored_on_other_images_without_a_word(
  finished_run, tmp_path, caplog
):
  config = recipe_lib.load(finished_run / "config.json")
  config = changed(config, {"data.val_dir": str(tmp_path / "images")})
  shutil.copytree(config.data.data_dir, config.data.val_dir)
  network = Network(str(finished_run), "pan", "bam", 2, None, {}, 2, config)
  selection.find_benchmark(None, network)
  assert not caplog.text
  shutil.copy(tmp_path / "images" / "a.png", tmp_path / "images" / "b.png")
  selection.find_benchmark(None, network)
  assert "not those that" in caplog.text
  assert "(2 with other names or content)" in caplog.text


def test_names_are_abbreviated():
  assert run_data.abbreviate(list("abcde")) == "a, b, c, d, e"
  assert run_data.abbreviate(list("abcdefg")) == "a, b, c, d, e and 2 more"
