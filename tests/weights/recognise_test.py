"""Networks are recognised by the names and shapes of their tensors."""

import jax
import numpy as np
import pytest

from bamjax import load_weights
from bamjax.errors import UserError
from bamjax.layers import Attention
from bamjax.layers import ATTENTIONS
from bamjax.models import create_model
from bamjax.models.registry import backbone
from bamjax.weights import Hints
from bamjax.weights import reading
from bamjax.weights.recognise import recognise
from shared import needs_shared
from shared import SHARED
from weights.goldens import FILE
from weights.goldens import Goldens

GOLDENS = Goldens()
RECORDED = Goldens(FILE.with_name("recorded.npz"))
RELEASED = Goldens(FILE.with_name("released.npz"))

# Hyper-parameters of the recorded small networks.
SMALL = {
  "super_image-carn": {"features": 64, "blocks": 3, "units": 3, "groups": 1},
  "super_image-pan": {"features": 20, "up_features": 16, "blocks": 2},
  "super_image-msrn": {"features": 16, "blocks": 2},
  "super_image-awsrn": {
    "features": 16,
    "wide_features": 64,
    "blocks": 2,
    "units": 3,
    "tail_sizes": (3, 5, 7, 9),
  },
  "super_image-rcan": {"features": 16, "groups": 2, "blocks": 3},
  "super_image-drln": {"features": 64, "groups": (3, 3, 3, 3, 4, 4)},
  "super_image-edsr": {"features": 16, "blocks": 3},
  "super_image-edsr-baseline": {"features": 64, "blocks": 16},
  "super_image-edsr-wide": {"features": 256, "blocks": 2},
  "basicsr-edsr": {"features": 16, "blocks": 3},
  "basicsr-edsr-wide": {"features": 256, "blocks": 2},
  "basicsr-rcan": {"features": 16, "groups": 2, "blocks": 3},
  "basicsr-rcan-wide": {"features": 64, "groups": 1, "blocks": 2},
}
REDUCTIONS = {
  "super_image-pan": 8,
  "super_image-awsrn": 8,
  "super_image-rcan": 4,
  "basicsr-rcan": 4,
}


def empty(shapes):
  """Arrays of these shapes that take no memory."""
  return {n: np.broadcast_to(np.float32(0), s) for n, s in shapes.items()}


def scales(case):
  """The scale to be inferred; CARN's and PAN's shapes fit several."""
  if case["model"] in ("carn", "carn_m"):
    return None
  return None if case["model"] == "pan" and case["scale"] < 4 else case["scale"]


@pytest.mark.parametrize("key", GOLDENS.cases)
def test_published_networks_are_recognised(key):
  case = GOLDENS.cases[key]
  network = recognise(empty(GOLDENS.shapes(key)))
  assert (network.model, network.attn) == (case["model"], case["attn"])
  assert network.scale == scales(case)
  entry = backbone(case["model"])
  # The options must be those of the published network.
  published = {"groups": case["group"]} if "group" in case else {}
  usual = create_model(case["model"], case["attn"], case["scale"], **published)
  options = dict(network.options)
  attention = options.pop("attention", None)
  if attention is not None:
    assert attention == Attention(case["attn"], entry.reduction)
  assert options
  assert options == {name: getattr(usual, name) for name in options}


@pytest.mark.parametrize("key", RECORDED.cases)
def test_small_networks_are_recognised(key):
  case = RECORDED.cases[key]
  network = recognise(empty(RECORDED.shapes(key)))
  assert (network.model, network.attn) == (case["model"], case["attn"])
  assert network.scale == scales(case)
  options = dict(network.options)
  attention = options.pop("attention", None)
  kind = key.rpartition("-x")[0].removesuffix(f"-{case['attn']}")
  assert options == SMALL[kind]
  if attention is not None:
    assert attention == Attention(case["attn"], REDUCTIONS.get(kind, 16))
  else:
    assert case["attn"] in ("none", "pa")


@pytest.mark.parametrize("key", RELEASED.cases)
def test_networks_of_their_authors_code_are_recognised(key):
  case = RELEASED.cases[key]
  network = recognise(empty(RELEASED.shapes(key)))
  assert (network.model, network.attn) == (case["model"], case["attn"])
  assert network.scale == case["scale"]
  options = dict(network.options)
  attention = options.pop("attention", None)
  if network.model == "bsrn":
    assert attention == Attention("esa_cca", 16)
    assert options == {"features": 32, "blocks": 8, "distilled": 16}
  else:
    assert attention is None
    assert options == {"features": 16, "blocks": 3, "growth": 2}


def test_there_are_as_many_goldens_as_published():
  assert len(GOLDENS.cases) == 105


# Backbone and attention → attentions with the same names and shapes, of which
# the first is used without a hint.
@pytest.mark.parametrize(
  "key, alike", [("rcan-ca-x2", "cca"), ("imdn-acam-x2", "acam_maxpool")]
)
def test_the_attention_can_be_a_hint(key, alike):
  tensors = empty(GOLDENS.shapes(key))
  assert recognise(tensors).attn == GOLDENS.cases[key]["attn"]
  assert recognise(tensors, Hints(attn=alike)).attn == alike


def test_native_is_the_recognised_backbones_own():
  tensors = empty(RECORDED.shapes("super_image-rcan-bam-x2"))
  assert recognise(tensors, Hints(attn="native")).attn == "ca"
  tensors = empty(RECORDED.shapes("super_image-msrn-bam-x2"))
  assert recognise(tensors, Hints(attn="native")).attn == "none"


@pytest.mark.parametrize("attn", ["", "BAM", "spam", 3])
def test_unknown_attentions_are_reported(attn):
  tensors = empty(RECORDED.shapes("super_image-rcan-bam-x2"))
  with pytest.raises(UserError, match="unknown attention") as caught:
    recognise(tensors, Hints(attn=attn))
  assert all(kind in str(caught.value) for kind in ATTENTIONS)


@pytest.mark.parametrize(
  "tensors, message",
  [
    ({}, "no named layers"),
    ({"features.0.weight": np.zeros((64, 3, 3, 3))}, "features.0"),
    ({f"layer{i}.0.weight": np.zeros(3) for i in range(9)}, "layer3.0, …"),
    ({"weight": np.zeros(3)}, "no named layers"),
  ],
)
def test_other_networks_are_refused(tensors, message):
  with pytest.raises(UserError, match="not weights of a supported") as caught:
    recognise(tensors)
  assert message in str(caught.value)


def test_a_hint_of_another_backbone_is_refused():
  tensors = empty(RECORDED.shapes("super_image-pan-pa-x2"))
  with pytest.raises(UserError, match="not weights of drln"):
    recognise(tensors, Hints(model="drln"))
  with pytest.raises(UserError, match="unknown model 'pam'"):
    recognise(tensors, Hints(model="pam"))


def test_one_odd_shape_does_not_change_what_is_recognised():
  shapes = RECORDED.shapes("basicsr-rcan-ca-x4")
  usual = recognise(empty(shapes))
  for name, shape in shapes.items():
    for odd in (shape[::-1], shape[:1], (), tuple(0 for _ in shape)):
      network = recognise(empty({**shapes, name: odd}))
      assert (network.naming, network.model) == (usual.naming, usual.model)
      assert (network.attn, network.options) == (usual.attn, usual.options)
      assert network.scale == 4


def test_a_layer_with_a_large_number_makes_no_giant_network():
  shapes = RECORDED.shapes("basicsr-edsr-none-x2")
  shapes["body.123456789.conv1.weight"] = (16, 16, 3, 3)
  assert recognise(empty(shapes)).options["blocks"] == 4


PUBLISHED = {
  "carn_m_group4_x2x3x4.safetensors": ("carn_m", "none", 2, {"groups": 4}),
  "imdn_x2.safetensors": ("imdn", "cca", 2, {"features": 64, "distilled": 16}),
  "imdn_x4.safetensors": ("imdn", "cca", 4, {"features": 64, "distilled": 16}),
  "pan_x2.safetensors": ("pan", "pa", 2, {"features": 40, "up_features": 24}),
  "pan_x4.safetensors": ("pan", "pa", 4, {"features": 40, "up_features": 24}),
  "pan_x4.pth": ("pan", "pa", 4, {"features": 40, "up_features": 24}),
  **{
    f"bsrn_x{scale}.safetensors": ("bsrn", "esa_cca", scale, {"blocks": 8})
    for scale in (2, 3, 4)
  },
  **{
    f"smfanet_plus_x{scale}.safetensors": (
      *("smfanet", "none", scale),
      {"blocks": 12, "features": 48},
    )
    for scale in (2, 3, 4)
  },
}


@needs_shared
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_files_load(name):
  if name.endswith(".pth"):
    pytest.importorskip("torch")
  model, attn, scale, options = PUBLISHED[name]
  path = SHARED / "weights" / name
  module, variables = load_weights(path)
  assert module == create_model(
    model, attn, scale, normalization="official", **options
  )
  tensors = reading.unwrap(reading.read(path))
  assert set(variables) == {"params"}
  leaves = sum(x.size for x in jax.tree.leaves(variables))
  fixed = sum(t.size for n, t in tensors.items() if "_mean." in n)
  assert leaves + fixed == sum(t.size for t in tensors.values())
  if scale == 2:
    # In CARN-M and PAN, ×3 has the shapes of ×2.
    if model in ("carn_m", "pan"):
      assert load_weights(path, scale=3)[0].scale == 3
    else:
      with pytest.raises(UserError, match="×2, not ×3"):
        load_weights(path, scale=3)


@needs_shared
def test_every_published_file_is_tested():
  found = {
    path.name
    for path in (SHARED / "weights").iterdir()
    if path.suffix in reading.SUFFIXES
  }
  assert found == set(PUBLISHED)


@needs_shared
def test_the_same_weights_load_the_same_from_torchs_file():
  pytest.importorskip("torch")
  ours, theirs = (
    load_weights(SHARED / "weights" / f"pan_x4{suffix}")
    for suffix in (".safetensors", ".pth")
  )
  assert ours[0] == theirs[0]
  for a, b in zip(
    jax.tree.leaves(ours[1]), jax.tree.leaves(theirs[1]), strict=True
  ):
    np.testing.assert_array_equal(a, b)
