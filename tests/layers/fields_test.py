"""Modules with invalid fields or inputs raise one clear line."""

import jax
import numpy as np
import pytest

from bamjax import layers
from bamjax.errors import UserError
from bamjax.models import create_model
from bamjax.models import registry
from models import small

WRONG = [
  ("edsr", {"features": -3}, "features must be a whole number .* got -3"),
  ("edsr", {"features": 3.5}, "features must be a whole number .* got 3.5"),
  ("edsr", {"blocks": "x"}, "blocks must be a whole number .* got 'x'"),
  ("edsr", {"blocks": 0}, "blocks must be .* at least 1; got 0"),
  ("edsr", {"blocks": True}, "blocks must be a whole number .* got True"),
  ("edsr", {"res_scale": float("nan")}, "res_scale must be a finite number"),
  ("edsr", {"res_scale": "x"}, "res_scale must be a finite number; got 'x'"),
  ("edsr", {"remat": "yes"}, "remat must be True or False; got 'yes'"),
  ("edsr", {"attention": "bam"}, "attention must be an instance of Attention"),
  ("edsr", {"normalization": None}, "must be an instance of Normalization"),
  ("edsr", {"scale": "2"}, "scale must be a whole number .* got '2'"),
  ("drln", {"groups": 3}, "groups must be a tuple of whole .* got 3"),
  ("drln", {"groups": (3, -1)}, r"groups must be a tuple .* got \(3, -1\)"),
  ("drln", {"groups": ()}, r"groups must be a tuple .* got \(\)"),
  ("imdn", {"features": 16}, "distills 16 of 16 channels"),
  ("pan", {"features": 7}, "even number of features; got 7"),
]


@pytest.mark.parametrize(("name", "options", "message"), WRONG)
def test_wrong_fields_of_backbones_are_refused(name, options, message):
  with pytest.raises(ValueError, match=message) as error:
    registry.backbone(name).module(**options)
  assert "\n" not in str(error.value)
  if not {"scale", "normalization"} & set(options):
    with pytest.raises(UserError, match=message):
      create_model(name, **options)


@pytest.mark.parametrize("name", small.OPTIONS)
def test_every_number_of_every_backbone_is_checked(name):
  module = small.create(name)
  for field, value in small.OPTIONS[name].items():
    wrong = tuple(-n for n in value) if isinstance(value, tuple) else -value
    with pytest.raises(ValueError, match=f"{field} must be"):
      module.clone(**{field: wrong})


def test_lists_become_tuples():
  module = create_model("drln", groups=[1, 2])
  assert module.groups == (1, 2)
  assert hash(module) == hash(create_model("drln", groups=(1, 2)))


def test_groups_that_do_not_divide_the_channels_are_refused():
  lr = np.zeros((1, 8, 8, 3), np.float32)
  module = create_model("carn_m", features=10, groups=4)
  with pytest.raises(ValueError, match="in 4 groups from 10 to 10 channels"):
    jax.eval_shape(module.init, jax.random.key(0), lr)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"features": 0}, "features must be a whole number of at least 1; got 0"),
    ({"features": 8.0}, "features must be a whole number"),
    ({"features": 8, "kernel_size": 4}, "kernel_size must be odd; got 4"),
    ({"features": 8, "kernel_size": (3, 3)}, "kernel_size must be a whole"),
    ({"features": 8, "dilation": 0}, "dilation must be a whole number"),
    ({"features": 8, "groups": -1}, "groups must be a whole number"),
  ],
)
def test_wrong_fields_of_convs_are_refused(options, message):
  with pytest.raises(ValueError, match=message):
    layers.Conv(**options)


@pytest.mark.parametrize("reduction", [0, -1, 2.5, "8", True])
def test_reductions_that_are_not_integers_are_refused(reduction):
  x = np.zeros((1, 4, 4, 8), np.float32)
  for layer in (layers.BAM, layers.CA, layers.CBAM, layers.LA):
    with pytest.raises(ValueError, match="whole number of at least 1; got"):
      jax.eval_shape(layer(reduction).init, jax.random.key(0), x)
