import functools

import jax
import numpy as np
import pytest
import skimage.data

from bamjax.data.degradation import mixtures
from bamjax.data.degradation.degrade import degrade
from bamjax.data.degradation.degrade import sample_keys
from bamjax.data.degradation.jpeg import jpeg
from bamjax.errors import UserError
from bamjax.images import resize

SCALE, PATCH, BATCH = 2, 24, 3
side = SCALE * PATCH
HR = np.stack(
  [skimage.data.astronaut()[i:, 150:][:side, :side] for i in (20, 80, 140)]
)
LR = np.stack([resize.downscale(image, SCALE) for image in HR])


def keys(seed=0, step=0, batch_size=BATCH):
  return sample_keys(seed, step, batch_size)


@functools.cache
def compiled(name):
  return jax.jit(functools.partial(degrade, mixture=mixtures.named(name)))


def test_bicubic_changes_nothing():
  assert degrade(LR, HR, keys(), mixtures.Bicubic()) is LR


def test_keys_come_from_seed_step_and_index_alone():
  data = jax.random.key_data
  first = data(keys(3, 5, 8))
  assert (first[:2] == data(keys(3, 5, 2))).all()
  found = [data(keys(*at, 4)) for at in ((3, 5), (3, 6), (4, 5))]
  assert len(np.unique(np.concatenate(found), axis=0)) == 12
  # An option of JAX's that changes split() changes nothing here.
  with jax.threefry_partitionable(False):
    assert (data(keys(3, 5, 8)) == first).all()


@pytest.mark.parametrize("name", ["noise", "jpeg", "photo"])
def test_a_sample_depends_on_nothing_else_in_its_batch(name):
  found = np.asarray(compiled(name)(LR, HR, keys()))
  assert found.dtype == np.uint8
  assert found.shape == LR.shape
  order = np.array([2, 0, 1])
  again = compiled(name)(LR[order], HR[order], keys()[order])
  np.testing.assert_array_equal(again, found[order])
  other = np.asarray(compiled(name)(LR, HR, keys(step=1)))
  for a, b, lr in zip(found, other, LR, strict=True):
    assert (a != b).any()
    # Still an image of the same thing.
    assert np.corrcoef(a.ravel(), lr.ravel())[0, 1] > 0.5


def test_noise_has_the_sigma_that_is_asked_for():
  gray = np.full((2, 64, 64, 3), 128, np.uint8)
  mixture = mixtures.Noise(sigma=(15, 15))
  found = degrade(gray, gray, keys(batch_size=2), mixture).astype(float) - 128
  assert abs(found.std() / 15 - 1) < 0.03
  assert abs(found.mean()) < 0.5


def test_jpeg_of_a_fixed_quality_and_grid_is_that_of_the_image():
  mixture = mixtures.Jpeg((40, 40), random_grid=False)
  found = jax.jit(functools.partial(degrade, mixture=mixture))(LR, HR, keys())
  planes = LR.transpose(0, 3, 1, 2).astype(np.float32) / 255
  wanted = jax.jit(jax.vmap(lambda x: jpeg(x, 40)))(planes)
  wanted = wanted.transpose(0, 2, 3, 1)
  np.testing.assert_array_equal(found, np.rint(255 * np.asarray(wanted)))


def test_mistakes():
  small = mixtures.Photo(first=mixtures.Stage(resize=(0.01, 1.0)))
  with pytest.raises(UserError, match="leaves no pixel of a patch of 48×48"):
    degrade(LR, HR, keys(), small)
  with pytest.raises(UserError, match="10×10 is too small for a blur kernel"):
    degrade(LR[:, :10, :10], HR, keys(), mixtures.Photo())
  with pytest.raises(UserError, match="7×7 is too small for JPEG"):
    degrade(LR[:, :7, :7], HR, keys(), mixtures.Jpeg(random_grid=False))
