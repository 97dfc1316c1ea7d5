"""Networks of other packages give the outputs recorded of them."""

import numpy as np
import pytest

from bamjax import load_weights
from bamjax.layers import Normalization
from weights.goldens import FILE
from weights.goldens import Goldens
from weights.goldens import sample

RECORDED = Goldens(FILE.with_name("recorded.npz"))
RELEASED = Goldens(FILE.with_name("released.npz"))


def keys():
  """All networks; those that are slow to load marked so."""
  for key, case in RECORDED.cases.items():
    slow = case["model"] in ("drln", "carn") and case["scale"] != 2
    yield pytest.param(key, marks=pytest.mark.slow if slow else ())


def load(key, **overrides):
  """Loads a network, with hints only for what the names leave open."""
  case = RECORDED.cases[key]
  ambiguous = case["model"] == "carn" or case["model"] == "pan"
  options = dict(
    scale=case["scale"] if ambiguous else None, normalization=case["variant"]
  )
  return load_weights(RECORDED.state_dict(key), **{**options, **overrides})


def error(key, module, variables, recorded=RECORDED):
  # Op by op: the networks share most of their ops, each compiled once.
  y = module.apply(variables, recorded.input(key))
  reference = recorded.outputs[key]
  difference = np.linalg.norm(sample(np.asarray(y)) - reference)
  return difference / np.linalg.norm(reference)


@pytest.mark.parametrize("key", list(keys()))
def test_output_is_the_recorded_one(key):
  assert error(key, *load(key)) < 1e-5


@pytest.mark.parametrize(
  "key",
  [
    pytest.param(key, marks=pytest.mark.slow if key.endswith("3") else ())
    for key in RELEASED.cases
  ],
)
def test_output_is_that_of_the_authors_code(key):
  module, variables = load_weights(RELEASED.state_dict(key))
  assert module.normalization == Normalization()
  assert error(key, module, variables, RELEASED) < 1e-5


def test_every_network_asked_for_is_recorded():
  recorded = {
    (key.partition("-")[0], case["model"], case["attn"], case["scale"])
    for key, case in RECORDED.cases.items()
  }
  attns = {
    "carn": ("none", "bam"),
    "pan": ("pa", "bam"),
    "msrn": ("none", "bam"),
    "awsrn": ("none", "bam"),
    "rcan": ("ca", "bam"),
    "drln": ("la", "bam"),
    "edsr": ("none",),
  }
  assert recorded >= {
    ("super_image", model, attn, scale)
    for model in attns
    for attn in attns[model]
    for scale in (2, 3, 4)
  }
  assert recorded >= {
    ("basicsr", model, attns[model][0], scale)
    for model in ("edsr", "rcan")
    for scale in (2, 3, 4, 8)
  }


@pytest.mark.parametrize(
  "key", ["super_image-rcan-bam-x2", "super_image-awsrn-none-x2"]
)
@pytest.mark.parametrize("normalization", ["paper", "official"])
def test_super_images_quirks_are_its_own(key, normalization):
  assert error(key, *load(key, normalization=normalization)) > 0.1


@pytest.mark.parametrize("key", ["basicsr-edsr-none-x2", "basicsr-rcan-ca-x2"])
def test_basicsr_is_in_the_official_form_by_default(key):
  assert load(key, normalization=None)[0] == load(key)[0]
