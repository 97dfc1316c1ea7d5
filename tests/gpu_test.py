"""Results on a GPU against those on the CPU; skipped without a GPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bamjax
from bamjax.inference import cuda_graphs
from models import small


@pytest.fixture(autouse=True)
def gpu():
  if jax.default_backend() != "gpu":
    pytest.skip("needs a GPU")


def on(platform, function, *args):
  """Runs a function on a platform's first device; returns NumPy arrays."""
  # A new jit for each platform, because a trace depends on it.
  args = jax.device_put(args, jax.devices(platform)[0])
  with jax.default_matmul_precision("highest"):
    return jax.device_get(jax.jit(lambda *args: function(*args))(*args))


def difference(a, b):
  """Largest difference, relative to the largest value."""
  return np.abs(a - b).max() / np.abs(b).max()


@pytest.mark.parametrize("attn", ["native", "bam"])
@pytest.mark.parametrize("name", sorted(small.OPTIONS))
def test_networks_and_gradients_equal_the_cpus(name, attn):
  model = small.create(name, attn)
  x = np.random.default_rng(0).random((2, 13, 11, 3), dtype=np.float32)
  variables = small.draw(model, x)

  def step(variables, x):
    def loss(variables):
      sr = model.apply(variables, x)
      return jnp.mean(sr**2), sr

    return jax.grad(loss, has_aux=True)(variables)

  gradient, sr = on("gpu", step, variables, x)
  expected_gradient, expected = on("cpu", step, variables, x)
  assert difference(sr, expected) < 1e-5
  most = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected_gradient))
  for got, wanted in zip(
    jax.tree.leaves(gradient), jax.tree.leaves(expected_gradient), strict=True
  ):
    assert np.abs(got - wanted).max() < 1e-4 * most


@pytest.mark.parametrize("name", sorted(small.OPTIONS))
def test_bfloat16_is_near_float32(name):
  x = np.random.default_rng(0).random((1, 16, 16, 3), dtype=np.float32)
  variables = small.draw(small.create(name, "bam"), x)
  short = on(
    "gpu", small.create(name, "bam", dtype=jnp.bfloat16).apply, variables, x
  )
  exact = on("gpu", small.create(name, "bam").apply, variables, x)
  assert 0 < difference(short.astype(np.float32), exact) < 0.05


def test_shipped_weights_upscale_as_on_the_cpu():
  network = bamjax.load_weights("pan-bam-x2")
  lr = np.random.default_rng(0).random((40, 50, 3), dtype=np.float32)
  sr = bamjax.Upscaler(*network)(lr)
  expected = on("cpu", network[0].apply, network[1], lr[None])[0]
  np.testing.assert_allclose(sr, np.clip(expected, 0, 1), atol=2e-6)


@pytest.mark.parametrize("constant", [2**25, 0])
def test_graphs_give_what_the_cpu_gives(constant, monkeypatch):
  """With weights as constants, and as arguments; it must not fall back."""
  monkeypatch.setattr(cuda_graphs, "_CONSTANT", constant)
  module, variables = bamjax.load_weights("pan-bam-x2")
  lr = np.random.default_rng(0).random((1, 40, 50, 3), dtype=np.float32)
  with jax.default_matmul_precision("highest"):
    _, run = cuda_graphs._compile_graph(
      module.apply, jax.device_put(variables), lr
    )
  sr = np.asarray(run(lr))
  assert difference(sr, on("cpu", module.apply, variables, lr)) < 1e-5
