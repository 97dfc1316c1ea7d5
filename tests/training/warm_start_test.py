"""Weights to start from are those of the same network, whatever its name."""

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import bamjax
from bamjax.errors import UserError
from bamjax.models import create_model
from bamjax.runs.recipe import Recipe
from bamjax.training.warm_start import take_weights
from models import small
from weights.goldens import FILE
from weights.goldens import Goldens

LR = jnp.zeros((1, 8, 8, 3))


def take(source, name, module):
  config = Recipe(init_from=str(source), model=name)
  fresh = small.draw(module, LR, seed=1)["params"]
  return take_weights(fresh, module, config)


@pytest.mark.parametrize("names", [("edsr", "edsr_baseline"), ("edsr",) * 2])
def test_edsr_is_one_network_by_two_names(tmp_path, names):
  options = {"blocks": 16, "features": 64}
  path = tmp_path / "a.safetensors"
  for ours, theirs in (names, names[::-1]):
    module = create_model(theirs, **options)
    variables = small.draw(module, LR)
    bamjax.save_weights(path, module, variables)
    taken = take(path, ours, create_model(ours, **options))
    head = variables["params"]["head"]["kernel"]
    np.testing.assert_array_equal(taken["head"]["kernel"], head)


def test_other_backbones_are_refused(tmp_path):
  path = tmp_path / "a.safetensors"
  module = small.create("carn_m")
  bamjax.save_weights(path, module, small.draw(module, LR))
  for name in ("carn", "edsr"):
    with pytest.raises(UserError, match=f"model carn_m, not {name}"):
      take(path, name, small.create(name))


def test_a_scale_that_tensors_do_not_tell_is_no_matter(tmp_path):
  path = tmp_path / "a.safetensors"
  tensors = Goldens(FILE.with_name("recorded.npz")).state_dict(
    "super_image-pan-pa-x2"
  )
  safetensors.numpy.save_file(tensors, path)
  module = small.create("pan", scale=4, features=20)
  taken = take(path, "pan", module)
  np.testing.assert_array_equal(
    taken["body"]["bias"], tensors["trunk_conv.bias"]
  )
