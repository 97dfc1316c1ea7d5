"""BAM in the place of a trained attention."""

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bamjax
from bamjax.errors import UserError
from benchmarks import swap_attention

IMAGES = [*np.random.default_rng(0).random((2, 16, 16, 3), np.float32)]


def made(name, attn, **options):
  module = bamjax.create_model(name, attn, 2, **options)
  return module, module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))


def test_what_multiplied_by_a_half_gives_the_same_image_with_bam():
  module, variables = made("bsrn", "ca", blocks=2, features=16)
  flat = traverse_util.flatten_dict(variables["params"])
  for path, value in flat.items():
    if "attention" in path and "excite" in path:
      flat[path] = jnp.zeros_like(value)  # σ(0) = ½
  variables = {"params": traverse_util.unflatten_dict(flat)}
  other, swapped = swap_attention.swap(module, variables, IMAGES)
  assert other.attention.kind == "bam"
  x = np.stack(IMAGES)
  np.testing.assert_allclose(
    other.apply(swapped, x), module.apply(variables, x), atol=1e-5
  )


def test_a_network_without_attention_is_refused():
  with pytest.raises(UserError, match="no attention"):
    swap_attention.swap(*made("bsrn", "none", blocks=1, features=16), IMAGES)
