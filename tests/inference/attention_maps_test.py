from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bamjax
from bamjax import layers
from models import small


def image(shape=(1, 6, 5, 3), seed=0):
  return jax.random.uniform(jax.random.key(seed), shape)


def run(name, attn, x, **options):
  module = small.create_wide(name, attn, **options)
  return bamjax.attention_maps(module, small.draw(module, x), x)


def test_each_bam_has_both_maps_in_the_order_of_the_calls():
  # More than ten, whose order differs from that of their names.
  maps = run("imdn", "bam", image((2, 6, 5, 3)), blocks=11)
  assert list(maps) == [f"block_{i}/attention" for i in range(11)]
  for found in maps.values():
    assert found["channel_weights"].shape == (2, 1, 1, 16)
    assert found["spatial_weights"].shape == (2, 6, 5, 1)


@pytest.mark.parametrize("name", small.OPTIONS)
def test_every_backbone_returns_maps_of_its_attentions(name):
  maps = run(name, "bam", image())
  assert maps
  for path, found in maps.items():
    assert "attention" in path
    assert set(found) == {"channel_weights", "spatial_weights"}


def test_maps_have_the_size_of_the_features():
  # PAN's attentions follow its upsampling.
  maps = run("pan", "bam", image(), scale=4)
  sizes = [m["spatial_weights"].shape[1:3] for m in maps.values()]
  assert sizes == [(12, 10), (24, 20)]


def test_networks_without_attention_have_no_maps():
  assert run("edsr", "none", image()) == {}


def test_uint8_and_floating_images_give_the_same_maps():
  module = small.create("imdn", "bam")
  pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
  variables = small.draw(module, image())
  maps = [
    bamjax.attention_maps(module, variables, x)
    for x in (pixels, (pixels / np.float32(255))[None])
  ]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *maps)


class Twice(nn.Module):
  """A user's module that calls one BAM twice."""

  @nn.compact
  def __call__(self, x):
    attention = layers.BAM(4, name="own")
    self.sow("intermediates", "other", x)
    return attention(attention(x))


def test_a_module_called_twice_has_two_entries():
  x = image((1, 4, 4, 8))
  variables = Twice().init(jax.random.key(0), x)
  maps = bamjax.attention_maps(Twice(), variables, x)
  assert list(maps) == ["own", "own#2"]
  first, second = (m["channel_weights"] for m in maps.values())
  assert jnp.any(first != second)
