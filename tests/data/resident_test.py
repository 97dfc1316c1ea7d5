import functools
import sys

import jax
import numpy as np
import pytest

from bamjax.data import cache
from bamjax.data import crops
from bamjax.data import pipeline
from bamjax.data import resident
from bamjax.data import sources
from bamjax.data.sampling import Extras
from bamjax.data.sampling import NONE
from bamjax.errors import UserError
from bamjax.memory import Memory
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import changed
from bamjax.training import loop

PATCH, BATCH = 8, 6
SIZES = [(33, 40), (21, 18), (12, 9), (30, 17), (9, 70), (64, 16)]


def make_store(scale, sizes=SIZES):
  def image(i, height, width):
    rng = np.random.default_rng(i)
    shape = (height, width, 3)
    lr = rng.integers(0, 256, shape, dtype=np.uint8)
    # HR is no function of LR, so that a shift of either shows.
    shape = (scale * height, scale * width, 3)
    hr = rng.integers(0, 256, shape, dtype=np.uint8)
    return sources.ImagePair(str(i), lambda: (lr, hr))

  images = [image(i, *size) for i, size in enumerate(sizes)]
  return crops.CropStore(cache.decode(images), PATCH)


@pytest.mark.parametrize(
  ("scale", "extras"),
  [
    *((2, NONE), (3, NONE), (4, NONE)),
    *((2, Extras(0.7)), (3, Extras(0.7, permute_rgb=True))),
  ],
)
def test_samples_are_those_of_the_tf_data_pipeline(scale, extras):
  # One image is too small for half or quarter of it.
  store = make_store(scale, [*SIZES, (1, 5)])
  if extras.lr_only:
    store.add_smaller(cache.decode)
  data = jax.device_put(resident.pack(store))
  options = {"batch_size": BATCH, "patch": PATCH, "extras": extras}
  cut = jax.jit(functools.partial(resident.sample_batch, data, 3, **options))
  expected = pipeline.train_batches(
    store, seed=3, start_step=4, num_steps=12, **options
  )
  for step, batch in enumerate(expected, 4):
    found = cut(np.int32(step))
    assert found.keys() == batch.keys()
    for key, value in batch.items():
      assert found[key].dtype == value.dtype
      np.testing.assert_array_equal(found[key], value)


def test_shards_make_up_the_batch():
  data = resident.pack(make_store(2))
  options = {"batch_size": BATCH, "patch": PATCH}
  step = np.int32(1)
  whole = resident.sample_batch(data, 0, step, **options)
  parts = [
    resident.sample_batch(data, 0, step, **options, shard=(i, 3))
    for i in range(3)
  ]
  np.testing.assert_array_equal(
    np.concatenate([p["hr"] for p in parts]), whole["hr"]
  )


def test_images_lie_side_by_side_without_overlap():
  rng = np.random.default_rng(0)
  sizes = [tuple(size) for size in rng.integers(5, 60, (40, 2))]
  places, height, width = resident._arrange(sizes)
  sheet = np.zeros((height, width), int)
  for (y, x), (h, w) in zip(places, sizes, strict=True):
    assert y + h <= height and x + w <= width
    sheet[y : y + h, x : x + w] += 1
  assert sheet.max() == 1
  assert sheet.mean() > 0.7


def test_landscape_and_portrait_waste_little():
  # As DIV2K: most images are 2040 wide.
  sizes = [(1356, 2040)] * 17 + [(2040, 1356)] * 3
  _, height, width = resident._arrange(sizes)
  used = sum(h * w for h, w in sizes)
  assert used > 0.9 * height * width


def test_what_does_not_fit_is_told_before(monkeypatch):
  small = Memory(total=10_000, available=10_000)
  monkeypatch.setattr(resident, "host_memory", lambda: small)
  with pytest.raises(UserError, match="GB.*--data_mode=tfdata"):
    resident.pack(make_store(2))


def test_training_on_the_device_needs_no_tensorflow(
  finished_run, kept_programs, tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, "tensorflow", None)  # its import fails
  config = recipe_lib.load(finished_run / "config.json")
  config = changed(config, {"data.mode": "resident"})
  loop.train_and_evaluate(config, tmp_path)
  rows = [path / "metrics.jsonl" for path in (tmp_path, finished_run)]
  assert rows[0].read_text() == rows[1].read_text()
