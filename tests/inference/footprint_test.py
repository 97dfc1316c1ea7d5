import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bamjax
from bamjax.inference.footprint import footprint
from models import small


@pytest.mark.parametrize("name", ["imdn", "pan", "carn", "msrn"])
def test_memory_is_of_the_order_that_xla_plans(name):
  module = bamjax.create_model(name, "bam", 2)
  lr = jax.ShapeDtypeStruct((1, 96, 96, 3), jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), lr)
  compiled = jax.jit(module.apply).lower(variables, lr).compile()
  planned = compiled.memory_analysis().temp_size_in_bytes / 96**2
  assert 0.7 < footprint(module).bytes_per_pixel / planned < 2


@pytest.mark.parametrize("name", ["edsr", "imdn", "pan", "awsrn", "msrn"])
def test_what_lies_beyond_the_reach_changes_nothing(name):
  # Attentions that see the whole picture are not counted.
  module = small.create(name, "none")
  reach = footprint(module).reach
  rng = np.random.default_rng(0)
  lr = rng.random((1, 3, reach + 2, 3), dtype=np.float32)
  variables = small.draw(module, lr)
  differ = lr.copy()
  differ[:, :, reach + 1 :] = 0
  upscale = jax.jit(module.apply)
  a, b = upscale(variables, lr), upscale(variables, differ)
  np.testing.assert_array_equal(a[:, :, 0], b[:, :, 0])
  # And most of what lies inside it does.
  differ[:, :, reach * 2 // 3 :] = 0
  assert np.any(upscale(variables, differ)[:, :, 0] != a[:, :, 0])


@pytest.mark.parametrize(
  ("name", "attn", "count"),
  [("pan", "bam", 1), ("pan", "pa", 0), ("imdn", "cca", 6), ("drln", "la", 20)],
)
def test_pools_are_counted(name, attn, count):
  assert footprint(bamjax.create_model(name, attn, 2)).pools == count
