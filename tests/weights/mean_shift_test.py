"""Mean-shift layers as published: frozen, drifted in training, or wrong."""

import jax
import numpy as np
import pytest

from bamjax import load_weights
from bamjax.errors import UserError
from bamjax.layers import Normalization
from bamjax.weights import mean_shift
from bamjax.weights.mean_shift import Affine
from weights import goldens

RECORDED = goldens.Goldens(goldens.FILE.with_name("recorded.npz"))
OFFICIAL = Normalization(gain=255, shift=255)
CARN = Normalization(gain=1, shift=1)
NAMES = ("sub_mean.weight", "sub_mean.bias", "add_mean.weight", "add_mean.bias")


def frozen(model="edsr", infix=""):
  """The four tensors as released."""
  return {
    name.replace(".", f"{infix}."): goldens.mean_shift(name, model)
    for name in NAMES
  }


def drifted(amount, model="edsr", seed=0):
  """The four tensors, trained: off by up to `amount` of the largest value."""
  rng = np.random.default_rng(seed)
  return {
    name: np.float32(
      tensor + amount * np.abs(tensor).max() * rng.uniform(-1, 1, tensor.shape)
    )
    for name, tensor in frozen(model).items()
  }


@pytest.mark.parametrize(
  "name, expected",
  [
    ("sub_mean.weight", True),
    ("add_mean.bias", True),
    ("sub_mean.shifter.bias", True),
    ("add_mean.shifter.weight", True),
    ("sub_mean.scale", False),
    ("body.sub_mean.weight", False),
    ("sub_mean.other.weight", False),
    ("div_mean.weight", False),
  ],
)
def test_names(name, expected):
  assert mean_shift.is_mean_shift(name) == expected


@pytest.mark.parametrize("infix", ["", ".shifter"])
@pytest.mark.parametrize(
  "model, normalization", [("edsr", OFFICIAL), ("carn", CARN)]
)
def test_frozen_layers_are_the_normalization(model, normalization, infix):
  tensors = frozen(model, infix)
  assert mean_shift.check(tensors, normalization) == (normalization, [])


def test_rounding_is_not_drift():
  tensors = drifted(5e-5)
  assert mean_shift.check(tensors, OFFICIAL) == (OFFICIAL, [])


def test_other_tensors_are_skipped():
  tensors = {**frozen(), "head.0.weight": np.zeros((1, 2))}
  assert mean_shift.check(tensors, OFFICIAL) == (OFFICIAL, [])
  assert mean_shift.check({}, OFFICIAL) == (OFFICIAL, [])


@pytest.mark.parametrize(
  "model, normalization", [("edsr", OFFICIAL), ("carn", CARN)]
)
def test_drifted_layers_run_as_they_are(model, normalization):
  tensors = drifted(0.1, model)
  form, problems = mean_shift.check(tensors, normalization)
  assert problems == []
  assert isinstance(form, Affine)
  assert hash(form) == hash(mean_shift.check(tensors, normalization)[0])

  x = goldens.image(3, 5, 6)
  for side, gain, apply in (
    ("sub", normalization.gain, form.enter),
    ("add", 1, lambda y: form.leave(y) * normalization.gain),
  ):
    weight = tensors[f"{side}_mean.weight"].reshape(3, 3).astype(np.float64)
    expected = gain * x @ weight.T + tensors[f"{side}_mean.bias"]
    np.testing.assert_allclose(apply(x), expected, rtol=1e-5, atol=1e-5)


def test_one_drifted_tensor_leaves_the_others_as_they_are():
  tensors = frozen() | {"add_mean.bias": drifted(0.1)["add_mean.bias"]}
  form, _ = mean_shift.check(tensors, OFFICIAL)
  x = goldens.image(3, 5, 6)
  np.testing.assert_allclose(
    form.enter(x), OFFICIAL.enter(x), rtol=1e-5, atol=1e-4
  )
  difference = (form.leave(x) - OFFICIAL.leave(x)) * 255
  drift = tensors["add_mean.bias"] - goldens.mean_shift(NAMES[3], "edsr")
  np.testing.assert_allclose(difference, drift + 0 * x, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", ["other unit", "sign", "nan", "zero"])
def test_wrong_values_are_reported(name, wrong):
  tensors = drifted(0.1)
  change = {"other unit": 255, "sign": -1, "nan": np.nan, "zero": 0}[wrong]
  tensors[name] = np.float32(tensors[name] * change)
  form, problems = mean_shift.check(tensors, OFFICIAL)
  assert form == OFFICIAL
  (problem,) = problems
  assert problem.startswith(f"{name} is [")
  assert "], not [" in problem


@pytest.mark.parametrize("normalization", [OFFICIAL, Normalization()])
@pytest.mark.parametrize("name", NAMES)
def test_wrong_shapes_are_reported(name, normalization):
  tensors = frozen()
  tensors[name] = np.zeros((1, 1, 1, 1), np.float32)
  _, problems = mean_shift.check(tensors, normalization)
  shape = "(3, 3, 1, 1)" if name.endswith("weight") else "(3,)"
  assert problems == [f"{name} is (1, 1, 1, 1), not {shape}"]


def test_layers_that_do_not_run_may_hold_anything():
  # The paper's EDSR and super-image's have them, but don't apply them.
  tensors = drifted(3)
  assert mean_shift.check(tensors, Normalization()) == (Normalization(), [])


def test_a_drifted_network_computes_what_its_layers_do():
  # 1×1 convs around it are part of the first conv and the last: the network
  # that holds these, with the frozen mean shift, must compute the same.
  key = "super_image-rcan-ca-x2"
  tensors = RECORDED.state_dict(key) | drifted(0.1)
  # Padding is zeros, not the mean, so the conv must not see any neighbour.
  centre = np.zeros((3, 3), np.float32)
  centre[1, 1] = 1
  tensors["head.0.weight"] *= centre

  def folded():
    def matrix(side):
      return tensors[f"{side}_mean.weight"].reshape(3, 3).astype(np.float64)

    first, last = tensors["head.0.weight"], tensors["tail.1.weight"]
    sub, add = frozen()["sub_mean.bias"], frozen()["add_mean.bias"]
    inside = tensors["sub_mean.bias"] - matrix("sub") @ sub
    return (
      tensors
      | frozen()
      | {
        "head.0.weight": np.einsum("oihw,ij->ojhw", first, matrix("sub")),
        "head.0.bias": tensors["head.0.bias"] + first.sum((2, 3)) @ inside,
        "tail.1.weight": np.einsum("ko,oihw->kihw", matrix("add"), last),
        "tail.1.bias": matrix("add") @ tensors["tail.1.bias"]
        + tensors["add_mean.bias"]
        - add,
      }
    )

  x = RECORDED.input(key)
  y, expected = (
    jax.jit(module.apply)(variables, x)
    for module, variables in (load_weights(tensors), load_weights(folded()))
  )
  assert isinstance(load_weights(tensors)[0].normalization, Affine)
  error = np.linalg.norm(y - expected) / np.linalg.norm(expected)
  assert error < 1e-5


def test_a_network_in_the_wrong_form_is_refused():
  tensors = RECORDED.state_dict("super_image-rcan-ca-x2")
  tensors |= frozen("carn")
  with pytest.raises(UserError, match=r"sub_mean.bias is \[-0.4488"):
    load_weights(tensors, normalization="official")
  module, _ = load_weights(tensors, normalization="paper")
  assert module.normalization == Normalization()
