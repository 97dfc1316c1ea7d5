import subprocess
import sys

import jax
import jax.numpy as jnp
from models import small
import numpy as np
import pytest

import bamjax
from bamjax import inference


@pytest.fixture(scope="module")
def network():
  module = bamjax.create_model(
    "pan", "bam", 2, blocks=1, features=8, up_features=8
  )
  return module, small.draw(module, jnp.zeros((1, 8, 8, 3)))


def test_upscales_bytes_floats_and_batches_alike(network):
  upscale = bamjax.Upscaler(*network)
  image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
  sr = upscale(image)
  assert sr.shape == (18, 14, 3) and sr.dtype == np.uint8
  soft = upscale(image / np.float32(255))
  assert soft.dtype == np.float32 and 0 <= soft.min() and soft.max() <= 1
  np.testing.assert_array_equal(np.floor(soft * 255 + 0.5), sr)
  expected = network[0].apply(network[1], image[None] / np.float32(255))
  np.testing.assert_allclose(soft, np.clip(expected[0], 0, 1), atol=1e-5)
  batch = upscale(np.stack([image, image[::-1]]))
  np.testing.assert_allclose(batch[0].astype(int), sr, atol=1)


def random_picture(height, width):
  rng = np.random.default_rng(0)
  return rng.random((height, width, 3), dtype=np.float32)


@pytest.mark.parametrize(
  ("height", "width", "count"),
  [(40, 40, 9), (33, 70, 15), (20, 64, 8), (90, 12, 6), (30, 30, 1)],
)
def test_tiles_equal_the_whole_where_the_halo_holds_the_reach(
  height, width, count
):
  # Convs alone: 7 of 3×3 at most, the upsampled ones reaching half as far.
  module = bamjax.create_model(
    "pan", "pa", 2, blocks=1, features=8, up_features=8
  )
  lr = random_picture(height, width)
  variables = small.draw(module, lr[None])
  tiled = bamjax.Upscaler(module, variables, tile=16, halo=8)
  whole = bamjax.Upscaler(module, variables, tile=0)
  assert tiled.tiles(height, width) == count
  assert whole.tiles(height, width) == 1
  np.testing.assert_allclose(tiled(lr), whole(lr), atol=2e-6)


def test_tiles_without_a_halo_show_their_seams(network):
  lr = random_picture(40, 40)
  whole = bamjax.Upscaler(*network, tile=0)(lr)
  seamy = bamjax.Upscaler(*network, tile=16, halo=0)(lr)
  near = bamjax.Upscaler(*network, tile=16, halo=8)(lr)
  assert np.abs(seamy - whole).max() > 4 * np.abs(near - whole).max()


def test_large_pictures_are_tiled_by_themselves(network, monkeypatch, caplog):
  assert bamjax.Upscaler(*network).tiles(500, 500) == 1
  monkeypatch.setattr(inference, "_memory", lambda: 50e6)
  upscale = bamjax.Upscaler(*network)
  assert 1 < upscale.tiles(1000, 1000) < 100
  assert upscale.tiles(64, 64) == 1
  lr = random_picture(400, 130)
  monkeypatch.setattr(inference, "_memory", lambda: 1e6)
  few = bamjax.Upscaler(*network)(lr)
  assert "130×400 LR pixels would not fit into memory" in caplog.text
  whole = bamjax.Upscaler(*network, tile=0)(lr)
  assert np.abs(few - whole).mean() < 0.01


@pytest.mark.parametrize("name", ["imdn", "pan", "carn"])
def test_memory_is_of_the_order_that_xla_plans(name):
  module = bamjax.create_model(name, "bam", 2)
  lr = jax.ShapeDtypeStruct((1, 96, 96, 3), jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), lr)
  compiled = jax.jit(module.apply).lower(variables, lr).compile()
  planned = compiled.memory_analysis().temp_size_in_bytes / 96**2
  assert 0.7 < inference._bytes_per_pixel(module) / planned < 2


def test_self_ensemble_is_the_mean_over_eight_symmetries(network):
  module, variables = network
  lr = random_picture(9, 7)
  plus = bamjax.Upscaler(module, variables, self_ensemble=True)(lr)
  outputs = []
  for turns in range(4):
    for axes in ((), (0,)):
      x = np.rot90(np.flip(lr, axes), turns)
      y = np.rot90(module.apply(variables, x[None])[0], -turns)
      outputs.append(np.flip(y, axes))
  want = np.clip(np.mean(outputs, axis=0), 0, 1)
  np.testing.assert_allclose(plus, want, atol=2e-6)
  plain = bamjax.Upscaler(module, variables)(lr)
  assert np.abs(plus - plain).max() > 1e-4
  # It does not matter how the picture lies.
  turned = bamjax.Upscaler(module, variables, self_ensemble=True)(np.rot90(lr))
  np.testing.assert_allclose(turned, np.rot90(plus), atol=2e-6)


def test_negative_tiles_are_refused(network):
  for options in ({"tile": -1}, {"halo": -1}):
    with pytest.raises(ValueError, match="negative"):
      bamjax.Upscaler(*network, **options)


def test_other_shapes_are_refused(network):
  with pytest.raises(ValueError, match="H×W×3"):
    bamjax.Upscaler(*network)(np.zeros((9, 7), np.uint8))


def test_the_library_needs_neither_tensorflow_nor_torch():
  script = (
    "import sys, bamjax, bamjax.metrics, bamjax.inference, bamjax.benchmarking;"
    "bamjax.list_models();"
    "assert not {'tensorflow', 'torch'} & set(sys.modules)"
  )
  subprocess.run([sys.executable, "-c", script], check=True)
