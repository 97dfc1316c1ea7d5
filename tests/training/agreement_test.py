"""What several processes must have in common; see also processes_test."""

import json

import numpy as np
import pytest

from bamjax.data import cache
from bamjax.data.crops import CropStore
from bamjax.data.sources import ImagePair
from bamjax.data.sources import Source
from bamjax.errors import UserError
from bamjax.runs.recipe import changed
from bamjax.runs.recipe import Recipe
from bamjax.training import agreement
from bamjax.training import distributed
from bamjax.training.validation import Validation


def image(name, seed):
  rng = np.random.default_rng(seed)
  lr = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
  return ImagePair(name, lambda: (lr, np.kron(lr, np.ones((2, 2, 1), "u1"))))


def store(*images):
  return CropStore(cache.decode(images), 8)


@pytest.fixture
def compared(monkeypatch):
  """Compares what process 0 and 1 pass to a function."""

  def compare(call, zero, one):
    texts = []
    monkeypatch.setattr(
      distributed, "exchange", lambda text: texts.append(text) or [text]
    )
    call(*zero)
    call(*one)
    assert texts == [json.dumps(json.loads(text)) for text in texts]
    monkeypatch.setattr(distributed, "exchange", lambda _: texts)
    call(*one)

  return compare


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("seed", 1),
    ("steps", 9),
    ("batch_size", 8),
    ("keep_last", 3),
    ("log_every", 7),
    ("init_from", "x2.safetensors"),
    ("data.degradation", "noise"),
    ("teacher.sha256", "0123"),
    ("optim.learning_rate", 2e-4),
    ("model_options", {"blocks": (1, 2)}),
  ],
)
def test_every_field_must_be_equal(compared, tmp_path, field, value):
  zero, one = Recipe(), Recipe()
  one = changed(one, {field: value})
  with pytest.raises(
    UserError, match=f"same run: {field}.* is .* on process 1"
  ):
    compared(agreement.check_config, (tmp_path, zero), (tmp_path, one))


def test_every_difference_is_named(compared, tmp_path):
  zero, one = Recipe(), Recipe()
  one = changed(one, {"seed": 3, "batch_size": 8})
  with pytest.raises(UserError) as caught:
    compared(agreement.check_config, (tmp_path, zero), (tmp_path / "x", one))
  assert str(caught.value) == (
    "the processes do not train the same run: batch_size is 8 on process 1, 16"
    f' on process 0; run_dir is "{tmp_path / "x"}" on process 1, "{tmp_path}"'
    " on process 0; seed is 3 on process 1, 0 on process 0. Start all of them"
    " with the same flags and images"
  )


def test_the_same_images_may_have_other_paths(compared, tmp_path):
  zero, one = Recipe(), Recipe()
  places = {"data.data_dir": "/local/images", "teacher.source": "/local/it"}
  one = changed(one, places)
  compared(agreement.check_config, (tmp_path, zero), (tmp_path, one))
  source = Source("folder", [image("a", 1)], [image("b", 2)])
  compared(agreement.check_names, (source, zero), (source, one))
  same = store(image("a", 1))
  compared(agreement.check_crops, (same, zero), (same, one))
  # Other pixels of the same name: the paths explain it.
  with pytest.raises(
    UserError, match="training images is .*; data.data_dir is"
  ):
    other = store(image("a", 9))
    compared(agreement.check_crops, (same, zero), (other, one))
  with pytest.raises(UserError, match="validation images is .*1 .*2 "):
    more = Source("folder", source.train, [image("b", 2), image("c", 2)])
    compared(agreement.check_names, (more, zero), (source, zero))


def test_other_pixels_to_validate_on_are_refused(monkeypatch):
  # As process 0 of two, of which process 1 reads every second image.
  images = [image(name, ord(name)) for name in "abcd"]
  alone = Validation(images, 2)
  monkeypatch.setattr("jax.process_count", lambda: 2)

  def gathered(change):
    def gather(mine):
      other = mine.copy()
      other[::2] = 0  # unread there
      other[3] ^= change
      return np.stack([mine, other])

    monkeypatch.setattr(distributed, "gather", gather)
    return Validation(images, 2)

  validation = gathered(0)
  assert [kept.name for kept in validation.share] == ["a", "c"]
  assert validation.fingerprint() == alone.fingerprint()
  assert [kept.name for kept in validation.all()] == list("abcd")
  with pytest.raises(UserError, match="image d is another one on process 1"):
    gathered(1)


def test_an_error_on_one_process_is_one_on_all(monkeypatch):
  def fail():
    raise UserError("no such folder")

  with pytest.raises(UserError, match="^no such folder$"):
    distributed.together(fail)
  monkeypatch.setattr("jax.process_count", lambda: 2)
  monkeypatch.setattr(distributed, "exchange", lambda text: [text, "bad flag"])
  with pytest.raises(UserError, match="^process 1 failed: bad flag$"):
    distributed.together(lambda: 3)
  monkeypatch.setattr(distributed, "exchange", lambda text: [text, ""])
  assert distributed.together(lambda: 3) == 3
