import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bamjax


@pytest.fixture(scope="module")
def network():
  module = bamjax.create_model(
    "pan", "bam", 2, blocks=1, features=8, up_features=8
  )
  return module, module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


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
