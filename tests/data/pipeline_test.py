import collections

import jax
import numpy as np
import pytest

from bamjax.data import cache
from bamjax.data import crops
from bamjax.data import pipeline
from bamjax.data import sources
from bamjax.data.sampling import Extras
from bamjax.data.sampling import plan
from bamjax.errors import UserError
from bamjax.images import resize

PATCH, SCALE, BATCH = 8, 2, 4


def image(name, height, width):
  seed = sum(map(ord, name))
  rng = np.random.default_rng(seed)
  lr = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
  hr = np.repeat(np.repeat(lr, SCALE, axis=0), SCALE, axis=1)
  return sources.ImagePair(name, lambda: (lr, hr))


@pytest.fixture(scope="module")
def store():
  images = [image("a", 33, 40), image("b", 21, 18), image("c", 12, 9)]
  return crops.CropStore(cache.decode(images), PATCH)


def test_five_crops_are_corners_and_centre():
  assert crops.five_crops(11, 14) == [
    (0, 0, 5, 7),
    (0, 7, 5, 7),
    (6, 0, 5, 7),
    (6, 7, 5, 7),
    (3, 3, 5, 7),
  ]


def test_windows_are_views_of_the_decoded_images(store):
  lr, hr = store.decoded.pairs[1]
  # The second image's fourth crop: bottom right.
  a, b = store.window(8, 1, 0, PATCH)
  np.testing.assert_array_equal(a, lr[12:20, 9:17])
  np.testing.assert_array_equal(b, hr[24:40, 18:34])
  assert np.shares_memory(a, lr) and np.shares_memory(b, hr)


def test_a_small_image_is_taken_whole(store):
  # a and b give five crops each, c is smaller than two patches.
  assert store.places[:, 0].tolist() == [0] * 5 + [1] * 5 + [2]
  assert store.sizes.tolist() == [[16, 20]] * 5 + [[10, 9]] * 5 + [[12, 9]]


def test_bad_images_are_named_and_left_out(caplog):
  def broken():
    raise UserError("broken.png cannot be read")

  bad = [sources.ImagePair("broken", broken), image("tiny", 7, 30)]
  good = image("a", 33, 40)
  store = crops.CropStore(cache.decode([*bad, good]), PATCH)
  assert len(store.places) == 5
  assert "broken.png" in caplog.text
  assert "tiny" in caplog.text
  with pytest.raises(UserError, match="no usable training image"):
    crops.CropStore(cache.decode(bad), PATCH)


def batch(store, step, **kwargs):
  options = {"seed": 3, "batch_size": BATCH, "patch": PATCH, **kwargs}
  return pipeline.sample_batch(store, step, **options)


def test_hr_patches_match_lr_patches(store):
  for step in range(20):
    found = batch(store, step)
    np.testing.assert_array_equal(
      found["hr"],
      np.repeat(np.repeat(found["lr"], SCALE, axis=1), SCALE, axis=2),
    )


def test_the_pipeline_yields_the_batches_of_its_steps(store):
  options = {"seed": 3, "batch_size": BATCH, "patch": PATCH}
  found = list(
    pipeline.train_batches(store, start_step=5, num_steps=7, **options)
  )
  assert len(found) == 7
  for step, got in enumerate(found, 5):
    expected = batch(store, step)
    for key in ("lr", "hr"):
      np.testing.assert_array_equal(got[key], expected[key])


def test_shards_make_up_the_batch(store):
  whole = batch(store, 2)
  parts = [batch(store, 2, shard=(i, 2)) for i in range(2)]
  np.testing.assert_array_equal(
    np.concatenate([p["lr"] for p in parts]), whole["lr"]
  )


def test_a_batch_that_processes_cannot_share_is_refused(store):
  with pytest.raises(UserError, match="batch of 4.*3 processes"):
    pipeline.train_batches(
      store,
      seed=3,
      batch_size=BATCH,
      patch=PATCH,
      start_step=0,
      num_steps=1,
      shard=(0, 3),
    )


def test_seed_and_step_decide(store):
  assert (batch(store, 1)["lr"] == batch(store, 1)["lr"]).all()
  assert (batch(store, 1)["lr"] != batch(store, 2)["lr"]).any()
  assert (batch(store, 1)["lr"] != batch(store, 1, seed=4)["lr"]).any()


def draw(sizes, step, batch_size=BATCH, seed=0, **more):
  return plan(
    np.int32(seed),
    np.int32(step),
    np.array(sizes, np.int32),
    batch_size=batch_size,
    patch=PATCH,
    **more,
  )


def test_the_plan_does_not_depend_on_jaxs_default_generator():
  sizes = np.array([[16, 20]] * 11, np.int32)
  with jax.default_prng_impl("rbg"):
    # Not jitted: a cached trace would hide the default's change.
    other = plan.__wrapped__(0, 3, sizes, batch_size=BATCH, patch=PATCH)
  for a, b in zip(other, draw(sizes, 3), strict=True):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("batch_size", [4, 7, 30])
def test_each_epoch_visits_every_crop_once(batch_size):
  sizes = [[16, 20]] * 11
  steps = 11 * 4
  order = np.concatenate(
    [draw(sizes, s, batch_size).crop for s in range(steps)]
  )
  epochs = order.reshape(-1, 11)
  assert (np.sort(epochs, axis=1) == np.arange(11)).all()
  assert len({tuple(e) for e in epochs}) > len(epochs) // 2


def test_places_and_turns_are_uniform():
  sizes = [[PATCH + 2, PATCH]] * 5
  drawn = [draw(sizes, s, 64) for s in range(60)]
  y = collections.Counter(np.concatenate([d.y for d in drawn]).tolist())
  assert sorted(y) == [0, 1, 2]
  assert min(y.values()) > 0.28 * 60 * 64
  assert not np.concatenate([d.x for d in drawn]).any()
  turns = collections.Counter(
    zip(
      *(
        np.concatenate([getattr(d, k) for d in drawn]).tolist()
        for k in ("flip_x", "flip_y", "turn")
      ),
      strict=True,
    )
  )
  assert len(turns) == 8
  assert min(turns.values()) > 0.09 * 60 * 64


def test_late_steps_do_not_outgrow_32_bits():
  sizes = [[16, 20]] * 4000
  found = draw(sizes, 2_000_000_000, 16)
  assert 0 <= min(found.crop) and max(found.crop) < 4000


def test_turns_are_those_of_the_plan(store):
  for step in range(8):
    samples = draw(store.sizes, step)
    found = batch(store, step, seed=0)["lr"]
    for i in range(BATCH):
      y, x = int(samples.y[i]), int(samples.x[i])
      expected, _ = store.window(samples.crop[i], y, x, PATCH)
      expected = np.flip(expected, 1) if samples.flip_x[i] else expected
      expected = np.flip(expected, 0) if samples.flip_y[i] else expected
      expected = np.rot90(expected) if samples.turn[i] else expected
      np.testing.assert_array_equal(found[i], expected)


def test_lr_without_hr_is_cut_from_own_pixels_at_every_size():
  # Crops of 24×20 LR pixels: HR's quarter at ×3, 18×15, is larger than a patch.
  samples = draw([[24, 20]] * 5, 0, 2000, scale=3, extras=Extras(lr_only=0.75))
  levels = np.asarray(samples.level)
  shares = [np.mean(levels == level) for level in (-1, 0, 1, 2)]
  np.testing.assert_allclose(shares, [0.25] * 4, atol=0.05)
  for level, (height, width) in enumerate([(72, 60), (36, 30), (18, 15)]):
    chosen = levels == level
    for place, side in ((samples.y, height), (samples.x, width)):
      found = np.unique(np.asarray(place)[chosen])
      np.testing.assert_array_equal(found, np.arange(side - PATCH + 1))
  pairs = draw([[24, 20]] * 5, 0, 2000)
  for name in ("crop", "flip_x", "flip_y", "turn"):
    np.testing.assert_array_equal(getattr(samples, name), getattr(pairs, name))
  np.testing.assert_array_equal(samples.y[levels < 0], pairs.y[levels < 0])


def test_a_size_with_crops_below_a_patch_is_left_out():
  samples = draw([[8, 30]], 0, 500, scale=2, extras=Extras(lr_only=1.0))
  assert set(np.asarray(samples.level).tolist()) == {0, 1}


def test_own_pixels_are_reduced_as_lr_is(store):
  store.add_smaller(cache.decode)
  hr = store.decoded.pairs[1][1]
  own = store.own_pixels(1)
  assert own[0] is hr
  np.testing.assert_array_equal(own[1], resize.downscale(hr, 2))
  quarter = resize.downscale(hr[:40, :36], 4)
  np.testing.assert_array_equal(own[2], quarter)
  # The second image's fourth crop begins at (11, 9) of its LR.
  window = store.own_window(8, 2, 1, 0, 4)
  np.testing.assert_array_equal(window, quarter[6:10, 4:8])


def test_channels_are_permuted_alike_in_lr_and_hr(store):
  extras = Extras(permute_rgb=True)
  seen = set()
  for step in range(12):
    plain = batch(store, step)
    found = batch(store, step, extras=extras)
    channels = draw(store.sizes, step, extras=extras, seed=3).channels
    for i, order in enumerate(np.asarray(channels)):
      seen.add(tuple(order.tolist()))
      for name in ("lr", "hr"):
        expected = plain[name][i][..., order]
        np.testing.assert_array_equal(found[name][i], expected)
  assert len(seen) == 6


def test_sample_source_ships_with_scikit_image():
  source = sources.make_source("sample", 2)
  assert [p.name for p in source.val] == ["astronaut", "chelsea"]
  assert not {p.name for p in source.val} & {p.name for p in source.train}
  lr, hr = source.val[1].load()
  assert lr.shape == (150, 225, 3)
  np.testing.assert_array_equal(lr, resize.downscale(hr, 2))
