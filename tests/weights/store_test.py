import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import bamjax
from bamjax import pretrained
from bamjax.data.benchmarks import find_benchmark
from bamjax.errors import UserError
from bamjax.evaluation import evaluate
from bamjax.inference import Upscaler
from bamjax.networks import load_network
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
  told = json.loads(json.dumps(store.describe(module)))
  assert store.build(told) == module


def test_what_the_file_says_otherwise_is_refused(tmp_path):
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
  with pytest.raises(UserError, match="a .safetensors file"):
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


def test_shipped_weights_are_found_by_name(tmp_path, monkeypatch):
  monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
  module, variables = make("pan", "bam")
  bamjax.save_weights(tmp_path / "tiny-x2.safetensors", module, variables)
  assert pretrained.names() == ["tiny-x2"]
  assert bamjax.load_weights("tiny-x2")[0] == module
  assert load_network("tiny-x2").model == "pan"
  for load in (bamjax.load_weights, load_network):
    with pytest.raises(UserError, match="shipped are tiny-x2"):
      load("tiny-x9")


# PSNR-Y of FSRCNN on Set5 (Dong et al. 2016), protocol matlab, in dB.
FSRCNN = {2: 37.00, 3: 33.16, 4: 30.71}


def test_shipped_weights_are_those_of_three_scales():
  assert pretrained.names() == [f"pan-bam-x{scale}" for scale in FSRCNN]


@pytest.mark.parametrize("scale", FSRCNN)
def test_shipped_weights_tell_what_they_are(scale):
  name = f"pan-bam-x{scale}"
  network = load_network(name)
  told = (network.model, network.attn, network.scale)
  assert told == ("pan", "bam", scale)
  card = store.read_card(pretrained.find(name))
  assert len(card["pictures"]) == 74
  for picture in card["pictures"]:
    assert picture["licence"] and picture["author"] and picture["source"]
  assert card["scores"]["Set5"]["psnr_y"] > FSRCNN[scale]
  for scores in card["scores"].values():
    assert scores["psnr_y"] > scores["bicubic_psnr_y"]
    assert scores["ssim_y"] > scores["bicubic_ssim_y"]


@needs_shared
@pytest.mark.parametrize(
  "scale", [4, *(pytest.param(s, marks=pytest.mark.slow) for s in (2, 3))]
)
def test_shipped_weights_score_what_their_card_says(scale):
  name = f"pan-bam-x{scale}"
  told = store.read_card(pretrained.find(name))["scores"]["Set5"]
  pictures = find_benchmark(SHARED / "benchmarks" / "Set5", scale).pictures
  upscaler = Upscaler(*bamjax.load_weights(name), padded=True)
  scores = evaluate(upscaler, pictures, scale)["matlab"]
  for key, value in told.items():
    assert abs(scores[key] - value) < (0.01 if "psnr" in key else 1e-4)
