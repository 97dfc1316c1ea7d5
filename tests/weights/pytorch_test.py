"""PyTorch tensors become variables, or one error that lists every fault."""

import jax
import numpy as np
import pytest
import safetensors.numpy

from bamjax import load_weights
from bamjax.errors import UserError
from bamjax.layers import Normalization
from bamjax.models import list_models
from bamjax.weights.pytorch import NORMALIZATIONS
from weights.goldens import FILE
from weights.goldens import Goldens

RECORDED = Goldens(FILE.with_name("recorded.npz"))
EDSR = "basicsr-edsr-none-x2"
RCAN = "super_image-rcan-bam-x2"
AWSRN = "super_image-awsrn-bam-x3"


def refusal(tensors, **options):
  """The error's text, which must be one line."""
  with pytest.raises(UserError) as caught:
    load_weights(tensors, **options)
  assert "\n" not in str(caught.value)
  return str(caught.value)


def test_variables_are_float32_arrays():
  module, variables = load_weights(RECORDED.state_dict(EDSR))
  assert list(variables) == ["params"]
  leaves = jax.tree.leaves(variables)
  assert all(isinstance(leaf, jax.Array) for leaf in leaves)
  assert {leaf.dtype for leaf in leaves} == {np.dtype(np.float32)}
  x = np.zeros((1, 8, 8, 3), np.float32)
  tree = jax.eval_shape(module.init, jax.random.key(0), x)
  assert jax.tree.map(np.shape, tree) == jax.tree.map(np.shape, variables)


def test_all_faults_are_reported_at_once():
  tensors = RECORDED.state_dict(EDSR)
  del tensors["body.1.conv1.weight"]
  del tensors["conv_last.bias"]
  tensors["body.0.conv2.bias"] = np.zeros(17, np.float32)
  tensors["conv_first.weight"] = np.zeros((16, 1, 3, 3), np.float32)
  tensors["body.0.bn.running_mean"] = np.zeros(16, np.float32)
  tensors["step"] = np.float32(3)
  missing, unexpected, misshaped = refusal(tensors).split("; ")
  assert missing == (
    "recognised as edsr ×2, but the tensors don't match it (to load them as"
    " another network, use --model, --attn or --scale): missing:"
    " body.1.conv1.weight, conv_last.bias"
  )
  assert unexpected == "unexpected: body.0.bn.running_mean, step"
  assert misshaped == (
    "wrong shape: body.0.conv2.bias is (17,), not (16,),"
    " conv_first.weight is (16, 1, 3, 3), not (16, 3, 3, 3)"
  )


def test_faults_of_the_mean_shift_are_reported_too():
  tensors = RECORDED.state_dict("super_image-carn-bam-x2")
  tensors["sub_mean.bias"] *= 255
  del tensors["exit.bias"]
  text = refusal(tensors)
  assert "recognised as carn with bam ×2" in text
  assert "missing: exit.bias; sub_mean.bias is [-114.444" in text


def test_overlong_numbers_are_unexpected():
  tensors = RECORDED.state_dict(EDSR)
  tensors[f"body.{'9' * 5000}.conv1.weight"] = np.zeros((16, 16, 3, 3))
  assert "unexpected: body.999" in refusal(tensors)


def test_long_lists_are_counted():
  tensors = RECORDED.state_dict(EDSR)
  tensors |= {f"more.{i}": np.zeros(1) for i in range(100)}
  assert refusal(tensors).endswith(", more.39 and 60 more")


@pytest.mark.parametrize("key", [EDSR, RCAN, AWSRN])
@pytest.mark.parametrize("fault", ["missing", "unexpected", "wrong shape"])
def test_faulty_tensors_are_named(key, fault):
  whole = RECORDED.state_dict(key)
  # A few of them, which depend on the fault.
  for name in list(whole)[len(fault) % 7 :: 7]:
    if name.startswith(("sub_mean", "add_mean")) and fault == "missing":
      continue  # constants: they need not be there
    if fault == "missing":
      tensors = {n: t for n, t in whole.items() if n != name}
    elif fault == "unexpected":
      tensors = {**whole, f"{name}_old": whole[name]}
    else:
      tensors = {**whole, name: np.append(whole[name], 0)}
    options = {"normalization": RECORDED.cases[key]["variant"]}
    assert name in refusal(tensors, **options), name


@pytest.mark.parametrize("key", ["imdn-cca-x2", "pan-pa-x2", "awsrn-none-x2"])
def test_mean_shifts_of_networks_without_them_are_unexpected(key):
  tensors = Goldens().state_dict(key)
  tensors["sub_mean.weight"] = np.eye(3, dtype=np.float32)[..., None, None]
  assert "unexpected: sub_mean.weight" in refusal(tensors)


def test_convs_are_transposed_and_not_flipped():
  # Every width differs, so that no other order of the axes would fit.
  tensors = RECORDED.state_dict(AWSRN)
  name, ours = "body.1.lfl.2.body.0", ("block_1", "unit_2", "conv_0")
  _, variables = load_weights(tensors)
  leaf = variables["params"]
  for part in ours:
    leaf = leaf[part]
  theirs = tensors[f"{name}.weight_v"]
  assert theirs.shape == (64, 16, 3, 3)
  assert leaf["kernel"].shape == (3, 3, 16, 64)
  assert leaf["kernel"][2, 0, 5, 60] == theirs[60, 5, 2, 0]
  np.testing.assert_array_equal(
    leaf["gain"], tensors[f"{name}.weight_g"].ravel()
  )
  np.testing.assert_array_equal(leaf["bias"], tensors[f"{name}.bias"])


def test_widths_other_than_published_are_taken():
  module, _ = load_weights(RECORDED.state_dict(AWSRN))
  assert (module.features, module.wide_features) == (16, 64)
  assert (module.blocks, module.units) == (2, 3)
  assert module.attention.reduction == 8
  module, _ = load_weights(RECORDED.state_dict(RCAN), normalization="paper")
  assert module.attention.reduction == 4


@pytest.mark.parametrize(
  "options, named",
  [
    ({"model": "esdr"}, list_models()),
    ({"model": ""}, list_models()),
    ({"attn": "spam"}, ["'spam'", "native", "bam"]),
    ({"scale": 5}, ["5", "2, 3, 4, 8"]),
    ({"scale": 0}, ["0", "2, 3, 4, 8"]),
    ({"scale": "2"}, ["'2'", "2, 3, 4, 8"]),
    ({"normalization": "papers"}, ["'papers'", *NORMALIZATIONS]),
    ({"model": "pan"}, ["not weights of pan"]),
    ({"scale": 3}, ["weights of edsr ×2, not ×3"]),
    ({"scale": 4}, ["weights of edsr ×2, not ×4"]),
    (
      {"attn": "bam"},
      ["edsr with bam", "missing", "attention.sa.conv1.weight"],
    ),
  ],
  ids=str,
)
def test_wrong_hints_are_reported(options, named):
  text = refusal(RECORDED.state_dict(EDSR), **options)
  for part in named:
    assert part in text


def test_attention_can_be_a_hint_if_names_fit_several():
  tensors = RECORDED.state_dict("super_image-rcan-ca-x2")
  assert load_weights(tensors)[0].attention.kind == "ca"
  assert load_weights(tensors, attn="cca")[0].attention.kind == "cca"
  assert load_weights(tensors, attn="native")[0].attention.kind == "ca"
  # Tensors of the actual attention are unexpected, not dropped.
  text = refusal(tensors, attn="none")
  assert "unexpected: body.0.body.0.body.3.conv_du.0.weight" in text


def test_native_refuses_another_attentions_tensors():
  tensors = RECORDED.state_dict(RCAN)
  assert "body.3.ca.fc1.weight" in refusal(tensors, attn="native")


def test_models_of_a_family_can_be_hints():
  tensors = RECORDED.state_dict(EDSR)
  for model in ("edsr", "edsr_baseline"):
    assert load_weights(tensors, model=model)[0].features == 16
  # CARN's blocks hold more than CARN-M's shared unit.
  tensors = RECORDED.state_dict("super_image-carn-none-x2")
  assert "unexpected: b1.b2.body.0.weight" in refusal(tensors, model="carn_m")


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("kind", ["carn-bam", "pan-pa"])
def test_scales_that_shapes_leave_open_can_be_hints(kind, scale):
  tensors = RECORDED.state_dict(f"super_image-{kind}-x2")
  if kind == "pan-pa" and scale == 4:
    assert "missing: att2.conv" in refusal(tensors, scale=scale).replace(
      "HRconv2.bias, HRconv2.weight, ", ""
    )
    return
  assert load_weights(tensors, scale=scale)[0].scale == scale
  if kind == "pan-pa":
    assert refusal(tensors) == (
      "the tensors fit ×2 and ×3, and the name does not say which; use"
      " --scale=2 or --scale=3"
    )
  else:
    assert load_weights(tensors)[0].scale == 2


@pytest.mark.parametrize(
  "name, scale",
  [
    ("pan_x3", 3),
    ("PANx2_DF2K", 2),
    ("3x-PAN", 3),
    ("pan_scale3", 3),
    ("pan×2", 2),
    ("x3_of_x4", 3),
    ("pan", None),
    ("pan_x4", None),
    ("pan_x3_from_x2", None),
    ("pan_x32", None),
    ("pan_13x", None),
  ],
)
def test_the_scale_is_taken_from_the_files_name(tmp_path, caplog, name, scale):
  path = tmp_path / f"{name}.safetensors"
  tensors = RECORDED.state_dict("super_image-pan-pa-x2")
  safetensors.numpy.save_file(tensors, path)
  if scale is None:
    text = refusal(path)
    assert text.startswith(f"{path}: ") and "--scale=3" in text
  else:
    assert load_weights(path)[0].scale == scale
    assert f"{path}: the tensors fit ×2 and ×3; using ×{scale}" in caplog.text
  # With a hint, there is nothing to warn about.
  caplog.clear()
  assert load_weights(path, scale=2)[0].scale == 2
  assert not caplog.text


@pytest.mark.parametrize("name, scale", [("x3", 3), ("x2x3x4", 2)])
def test_which_of_carns_branches_is_used_is_logged(
  tmp_path, caplog, name, scale
):
  path = tmp_path / f"{name}.safetensors"
  tensors = RECORDED.state_dict("super_image-carn-bam-x2")
  safetensors.numpy.save_file(tensors, path)
  assert load_weights(path)[0].scale == scale
  assert f"×2, ×3 and ×4; using ×{scale}" in caplog.text


def test_a_guessed_normalization_is_logged_if_releases_differ(caplog):
  tensors = RECORDED.state_dict(EDSR)
  load_weights(tensors)
  assert caplog.text.endswith(
    "do not determine the input normalization of edsr; assuming official (to"
    " change this, use --normalization=paper or super_image)\n"
  )
  caplog.clear()
  load_weights(tensors, normalization="official")
  load_weights(RECORDED.state_dict("super_image-pan-pa-x2"), scale=2)
  assert not caplog.text


def test_attentions_with_the_same_tensors_need_a_hint():
  tensors = RECORDED.state_dict(EDSR)
  shapes = {"fc1.weight": (1, 16), "relu1.weight": (1,), "fc2.weight": (16, 1)}
  tensors |= {
    f"attention.{name}": np.ones((*shape, 1, 1)[:4] if shape[1:] else shape)
    for name, shape in shapes.items()
  }
  text = refusal(tensors)
  assert text.endswith("use --attn=acam or --attn=acam_maxpool")
  for kind in ("acam", "acam_maxpool"):
    assert load_weights(tensors, attn=kind)[0].attention.kind == kind


def test_carn_has_no_eighth_scale():
  tensors = RECORDED.state_dict("super_image-carn-none-x2")
  assert "2, 3 or 4" in refusal(tensors, scale=8)


@pytest.mark.parametrize(
  "key, normalization, expected",
  [
    (EDSR, None, Normalization(255, 255)),
    (EDSR, "paper", Normalization()),
    (EDSR, "super_image", Normalization()),
    (RCAN, None, Normalization()),
    (RCAN, "super_image", Normalization(1, 255)),
    (AWSRN, None, Normalization()),
    (AWSRN, "super_image", Normalization()),
    ("super_image-awsrn-none-x2", None, Normalization(2, 2)),
    ("super_image-awsrn-none-x2", "super_image", Normalization(1 / 127.5, 2)),
    ("super_image-drln-la-x2", "super_image", Normalization(1, 1)),
  ],
)
def test_normalizations(key, normalization, expected):
  tensors = RECORDED.state_dict(key)
  module, _ = load_weights(tensors, normalization=normalization)
  assert module.normalization == expected


@pytest.mark.parametrize(
  "key, normalization, expected",
  [
    ("basicsr-edsr-wide-none-x2", None, 0.1),
    ("basicsr-edsr-wide-none-x2", "paper", 1.0),
    ("super_image-edsr-wide-none-x2", "super_image", 1.0),
    (EDSR, None, 1.0),
  ],
)
def test_residuals_of_the_wide_official_edsr_are_scaled(
  key, normalization, expected
):
  tensors = RECORDED.state_dict(key)
  module, _ = load_weights(tensors, normalization=normalization)
  assert module.res_scale == expected


def test_torch_tensors_can_be_passed():
  torch = pytest.importorskip("torch")
  tensors = RECORDED.state_dict(EDSR)
  given = {f"module.{n}": torch.tensor(t) for n, t in tensors.items()}
  ours, theirs = load_weights(tensors), load_weights({"state_dict": given})
  assert ours[0] == theirs[0]
  jax.tree.map(np.testing.assert_array_equal, ours[1], theirs[1])
