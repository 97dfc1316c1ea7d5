import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import bamjax
from bamjax import pretrained
from bamjax.data.degradation import degrader
from bamjax.data.test_sets import find_benchmark
from bamjax.errors import UserError
from bamjax.evaluation.scoring import evaluate
from bamjax.inference import Upscaler
from bamjax.networks import load_network
from bamjax.weights import mean_shift
from bamjax.weights import store
from models import small
from shared import needs_shared
from shared import SHARED


def make(name, attn="native", **options):
  module = small.create(name, attn, **options)
  return module, small.draw(module, jnp.zeros((1, 8, 8, 3)))


@pytest.mark.parametrize("name", sorted(small.OPTIONS))
def test_networks_come_back_with_all_their_fields(tmp_path, name):
  module, variables = make(name, "bam", scale=3, normalization="official")
  path = tmp_path / "a.safetensors"
  bamjax.save_weights(path, module, variables, {"licence": "MIT"})
  found, back = bamjax.load_weights(path)
  assert found == module
  jax.tree.map(np.testing.assert_array_equal, variables, back)
  card = store.read_card(path)
  assert card["licence"] == "MIT" and card["network"]["scale"] == 3
  network = load_network(path)
  assert (network.scale, network.attn) == (3, "bam")
  assert isinstance(network.module, type(module))


def test_options_other_than_the_defaults_come_back():
  module = bamjax.create_model("pan", "pa", 4, blocks=3, up_features=12)
  module = module.clone(
    attention=dataclasses.replace(module.attention, reduction=5)
  )
  description = json.loads(json.dumps(store.describe(module)))
  assert store.build(description) == module


def test_hints_that_contradict_the_file_are_refused(tmp_path):
  path = tmp_path / "a.safetensors"
  bamjax.save_weights(path, *make("edsr", "bam"))
  assert bamjax.load_weights(path, model="edsr", attn="bam", scale=2)
  for options, text in (
    ({"scale": 4}, "of scale 2, not 4"),
    ({"model": "pan"}, "of model edsr, not pan"),
    ({"attn": "ca"}, "of attn bam, not ca"),
    ({"normalization": "official"}, "another normalization"),
  ):
    with pytest.raises(UserError, match=text):
      bamjax.load_weights(path, **options)
  with pytest.raises(UserError, match="must be .safetensors"):
    bamjax.save_weights(tmp_path / "a.npz", *make("edsr"))


def test_damaged_files_are_one_line(tmp_path):
  path = tmp_path / "a.safetensors"
  module, variables = make("pan")
  bamjax.save_weights(path, module, variables)
  data = path.read_bytes()
  (tmp_path / "cut.safetensors").write_bytes(data[: len(data) // 2])
  tensors = safetensors.numpy.load_file(path)
  del tensors["head/kernel"]
  network = json.dumps(store.describe(module))
  for name, metadata in (
    ("missing", {"network": network, "card": "{}"}),
    ("other", {"network": '{"model": "new"}', "card": "{}"}),
    ("bare", {}),
  ):
    safetensors.numpy.save_file(
      tensors,
      tmp_path / f"{name}.safetensors",
      {"format": "bamjax", **metadata},
    )
  for name in ("cut", "missing", "other", "bare"):
    with pytest.raises(UserError, match=name) as caught:
      bamjax.load_weights(tmp_path / f"{name}.safetensors")
    assert "\n" not in str(caught.value)


def edited(path, tensors=None, raw=None, card="{}", **changes):
  """A copy of a file whose network, or tensors, are changed; None drops."""
  described = store.read_card(path)["network"]
  for key, value in changes.items():
    part = described if key in described else described["options"]
    part[key] = value
  metadata = {"network": raw or json.dumps(described), "card": card}
  copy = path.with_name("b.safetensors")
  safetensors.numpy.save_file(
    {**safetensors.numpy.load_file(path), **(tensors or {})},
    copy,
    {"format": "bamjax", **metadata},
  )
  return copy


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
  path = tmp_path_factory.mktemp("weights") / "a.safetensors"
  bamjax.save_weights(path, *make("pan", "bam"))
  return path


@pytest.mark.parametrize(
  "changes",
  [
    *({"raw": raw} for raw in ("[]", "3", "null", '"x"', "{}", "{", "NaN")),
    *({"raw": raw * 10**5} for raw in ("[", '{"a":')),
    *({"model": value} for value in (None, 3, [], "new")),
    *({"attn": value} for value in (None, [], "spam")),
    *({"scale": value} for value in (None, "2", 2.0, True, 5)),
    *({"reduction": value} for value in (0, -1, None, 1.5, 10**9)),
    *({"options": value} for value in ([], None, 3, {"new": 1})),
    *({"normalization": value} for value in ([], {}, {"gain": 1})),
    *(
      {"normalization": {"gain": gain, "shift": 0}}
      for gain in (float("nan"), float("inf"), "1", None, 0, -1, [1])
    ),
    *({"features": value} for value in (0, -3, 16.0, "x", [16], None, 10**12)),
    *({"blocks": value} for value in (0, 1, 3, 10**7, True, 10**30)),
    *({"dtype": value} for value in ("x", None)),
  ],
  ids=lambda changes: str(changes)[:50],
)
def test_headers_without_a_network_are_one_line(tiny, changes):
  path = edited(tiny, **changes)
  with pytest.raises(UserError) as caught:
    bamjax.load_weights(path)
  text = str(caught.value)
  assert text.startswith(f"{path}: ") and "\n" not in text and len(text) < 400


def test_the_depth_is_compared_before_the_network_is_built(tiny):
  # Sixty thousand blocks would take minutes.
  with pytest.raises(UserError, match="blocks=3, but the tensors have 2"):
    bamjax.load_weights(edited(tiny, blocks=3))


@pytest.mark.parametrize("card", ["[]", "3", '{"a": NaN}', "{", "[" * 10**5])
def test_cards_that_are_not_objects_are_one_line(tiny, card):
  path = edited(tiny, card=card)
  with pytest.raises(UserError, match="the card in its header cannot be read"):
    store.read_card(path)
  bamjax.load_weights(path)  # needs no card


def test_a_card_does_not_change_the_network(tiny):
  path = edited(tiny, card='{"network": 3}')
  assert store.read_card(path)["network"]["model"] == "pan"
  assert bamjax.load_weights(path)[0].scale == 2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_floats_of_other_widths_become_float32(tiny, dtype):
  tensors = safetensors.numpy.load_file(tiny)
  tensors = {n: t.astype(jnp.dtype(dtype)) for n, t in tensors.items()}
  _, variables = bamjax.load_weights(edited(tiny, tensors))
  back = jax.tree.leaves(variables)
  assert {leaf.dtype for leaf in back} == {np.dtype(np.float32)}
  head = np.float32(tensors["head/kernel"])
  np.testing.assert_array_equal(variables["params"]["head"]["kernel"], head)


@pytest.mark.parametrize(
  "value, message",
  [
    (np.float32("nan"), "NaN or infinite numbers in head/bias"),
    (np.float16("-inf"), "NaN or infinite numbers in head/bias"),
    (np.float64(1e300), "NaN or infinite numbers in head/bias"),
    (np.int32(1), "head/bias holds I32"),
    (np.bool_(1), "head/bias holds BOOL"),
  ],
)
def test_weights_that_are_not_finite_floats_are_named(tiny, value, message):
  with pytest.raises(UserError, match=message):
    bamjax.load_weights(edited(tiny, {"head/bias": np.full(16, value)}))


def test_what_cannot_be_read_back_is_not_written(tmp_path):
  path = tmp_path / "a.safetensors"
  module, variables = make("pan")
  for card in ({"a": float("nan")}, {"a": object()}):
    with pytest.raises(UserError, match="was not written"):
      bamjax.save_weights(path, module, variables, card)
  odd = jax.tree.map(lambda a: a * np.float32("nan"), variables)
  with pytest.raises(UserError, match="NaN or infinite numbers in"):
    bamjax.save_weights(path, module, odd)
  with pytest.raises(UserError, match="are not those of this edsr: "):
    bamjax.save_weights(path, make("edsr")[0], variables)
  with pytest.raises(UserError, match="have no 'params'"):
    bamjax.save_weights(path, module, variables["params"])
  assert not list(tmp_path.iterdir())


def test_trained_mean_shifts_come_back(tmp_path):
  module, variables = make("edsr")
  rows = ((1.1, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 0.9))
  offset = (0.1, 0.2, 0.3)
  form = mean_shift.Affine(255.0, 255.0, rows, offset, rows, offset)
  module = module.clone(normalization=form)
  bamjax.save_weights(tmp_path / "a.safetensors", module, variables)
  assert bamjax.load_weights(tmp_path / "a.safetensors")[0] == module


def test_edsr_is_one_network_by_two_names(tmp_path):
  path = tmp_path / "a.safetensors"
  module = bamjax.create_model("edsr", blocks=16, features=64)
  bamjax.save_weights(path, module, small.draw(module, jnp.zeros((1, 8, 8, 3))))
  for name in ("edsr", "edsr_baseline"):
    assert bamjax.load_weights(path, model=name, attn="native")[0] == module


def test_cards_are_read_by_name():
  card = store.read_card("pan-bam-x2")
  assert card == store.read_card(pretrained.find("pan-bam-x2"))
  for name, message in (("pan-x9", "available: "), ("a/b.npz", "no such file")):
    with pytest.raises(UserError, match=message):
      store.read_card(name)


def test_shipped_weights_are_found_by_name(tmp_path, monkeypatch):
  monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
  module, variables = make("pan", "bam")
  bamjax.save_weights(tmp_path / "tiny-x2.safetensors", module, variables)
  assert pretrained.names() == ["tiny-x2"]
  assert bamjax.load_weights("tiny-x2")[0] == module
  assert load_network("tiny-x2").model == "pan"
  for load in (bamjax.load_weights, load_network):
    with pytest.raises(UserError, match="available: tiny-x2"):
      load("tiny-x9")


# PSNR-Y of FSRCNN on Set5 (Dong et al. 2016), protocol matlab, in dB.
FSRCNN = {2: 37.00, 3: 33.16, 4: 30.71}


PHOTO = 2, 4  # scales with weights for photographs


def test_weights_of_three_scales_are_shipped():
  clean = [f"pan-bam-x{scale}" for scale in FSRCNN]
  photo = [f"pan-bam-x{scale}-photo" for scale in PHOTO]
  released = [f"smfanet-x{scale}" for scale in FSRCNN]
  assert pretrained.names() == sorted([*clean, *photo, *released])


@pytest.mark.parametrize("scale", PHOTO)
def test_weights_for_photographs_have_cards(scale):
  name = f"pan-bam-x{scale}-photo"
  network = load_network(name)
  found = (network.model, network.attn, network.scale)
  assert found == ("pan", "bam", scale)
  card = bamjax.read_card(name)
  assert len(card["images"]) == 108
  for test_set in ("Set5", "Set14", "BSD100"):
    for quality in (40, 60, 80):
      scores = card["scores"][f"{test_set}, jpeg:{quality}"]
      assert scores["psnr_y"] > scores["bicubic_psnr_y"] + 0.2


@needs_shared
@pytest.mark.parametrize("scale", PHOTO)
def test_weights_for_photographs_are_better_on_jpeg(scale):
  images = find_benchmark(SHARED / "benchmarks" / "Set5", scale).images[1:3]
  degrade = degrader.parse("jpeg:60")
  photo, clean = (
    evaluate(
      Upscaler(*bamjax.load_weights(name), shared=True),
      images,
      scale,
      degrade=degrade,
    )["matlab"]
    for name in (f"pan-bam-x{scale}-photo", f"pan-bam-x{scale}")
  )
  assert photo["psnr_y"] > clean["psnr_y"] + 0.3
  assert photo["psnr_y"] > photo["bicubic_psnr_y"] + 0.3


@pytest.mark.parametrize("scale", FSRCNN)
def test_shipped_weights_have_cards(scale):
  name = f"pan-bam-x{scale}"
  network = load_network(name)
  found = (network.model, network.attn, network.scale)
  assert found == ("pan", "bam", scale)
  card = store.read_card(pretrained.find(name))
  assert len(card["images"]) == 108
  for image in card["images"]:
    assert image["licence"] and image["author"] and image["source"]
  assert card["scores"]["Set5"]["psnr_y"] > FSRCNN[scale]
  for scores in card["scores"].values():
    assert scores["psnr_y"] > scores["bicubic_psnr_y"]
    assert scores["ssim_y"] > scores["bicubic_ssim_y"]


@pytest.mark.parametrize("scale", FSRCNN)
def test_released_weights_that_ship_have_a_licence(scale):
  network = load_network(f"smfanet-x{scale}")
  found = (network.model, network.attn, network.scale)
  assert found == ("smfanet", "none", scale)
  card = bamjax.read_card(f"smfanet-x{scale}")
  assert card["licence"].startswith("Apache-2.0")
  assert "DIV2K and Flickr2K" in card["data"]
  assert card["scores"]["Set5"]["psnr_y"] > FSRCNN[scale] + 1
  text = (pretrained.FOLDER / "LICENSE.smfanet").read_text()
  assert "Apache License" in text and "Version 2.0" in text
  assert (
    f"smfanet-x{scale}" in (pretrained.FOLDER / "NOTICE.smfanet").read_text()
  )


@needs_shared
@pytest.mark.parametrize("scale", FSRCNN)
def test_released_weights_that_ship_are_as_released(scale):
  ours = bamjax.load_weights(f"smfanet-x{scale}")
  path = SHARED / "weights" / f"smfanet_plus_x{scale}.safetensors"
  theirs = bamjax.load_weights(path)
  assert ours[0] == theirs[0]
  jax.tree.map(np.testing.assert_array_equal, ours[1], theirs[1])


@needs_shared
@pytest.mark.parametrize(
  "name, scale",
  [
    ("pan-bam-x4", 4),
    *(
      pytest.param(f"{name}-x{s}", s, marks=pytest.mark.slow)
      for name, s in (
        *(("pan-bam", 2), ("pan-bam", 3)),
        *(("smfanet", 2), ("smfanet", 3), ("smfanet", 4)),
      )
    ),
  ],
)
def test_shipped_weights_score_what_their_card_says(name, scale):
  published = store.read_card(pretrained.find(name))["scores"]["Set5"]
  images = find_benchmark(SHARED / "benchmarks" / "Set5", scale).images
  upscaler = Upscaler(*bamjax.load_weights(name), padded=True)
  scores = evaluate(upscaler, images, scale)["matlab"]
  for key, value in published.items():
    assert abs(scores[key] - value) < (0.01 if "psnr" in key else 1e-4)
