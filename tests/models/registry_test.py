"""The registry: names, Table 1's parameter counts, errors, and extension."""

import importlib
import itertools
import math
import sys

import jax
import jax.numpy as jnp
import pytest

from bamjax import models
from bamjax.errors import UserError
from bamjax.layers import ATTENTIONS
from bamjax.models import create_model
from bamjax.models import list_models
from bamjax.models import registry
from models import small

SCALES = (2, 3, 4)

# The paper's Table 1, exactly: control and with BAM, at ×2, ×3, ×4.
TABLE_1 = {
  "edsr": (
    (40_729_627, 43_680_027, 43_089_947),
    (40_737_884, 43_688_284, 43_098_204),
  ),
  "carn": ((1_591_963,) * 3, (1_593_658,) * 3),
  "carn_m": ((1_161_307,) * 3, (1_163_002,) * 3),
  "msrn": (
    (5_930_331, 6_114_971, 6_078_043),
    (5_934_851, 6_119_491, 6_082_563),
  ),
  "slwsr32": ((534_139, 580_379, 571_131), (534_318, 580_558, 571_310)),
  "awsrn": (
    (1_396_872, 1_476_147, 1_587_132),
    (1_397_181, 1_476_456, 1_587_441),
  ),
  "rcan": (
    (15_444_667, 15_629_307, 15_592_379),
    (15_441_667, 15_626_307, 15_589_379),
  ),
  "imdn": ((694_404, 703_059, 715_176), (694_314, 702_969, 715_086)),
  "pan": ((261_403, 261_403, 272_419), (260_999, 260_999, 271_611)),
  "drln": (
    (34_430_155, 34_614_795, 34_577_867),
    (34_163_455, 34_348_095, 34_311_167),
  ),
}

# The paper's ablations, on IMDN, at ×2, ×3, ×4.
ABLATIONS = {
  "ca": (694_404, 703_059, 715_176),
  "cca": (694_404, 703_059, 715_176),
  "se": (693_996, 702_651, 714_768),
  "cbam": (694_584, 703_239, 715_356),
  "acam": (694_020, 702_675, 714_792),
  "msam": (691_218, 699_873, 711_990),
  "acam_maxpool": (694_020, 702_675, 714_792),
  "msam_avgpool": (691_512, 700_167, 712_284),
  "bam_allpool": (694_608, 703_263, 715_380),
}


def traced(model, size=8):
  """Returns the shapes of a model's output and parameters; runs nothing."""
  lr = jnp.zeros((1, size, size, 3))
  return jax.eval_shape(model.init_with_output, jax.random.key(0), lr)


def count(model):
  _, variables = traced(model)
  return sum(math.prod(x.shape) for x in jax.tree.leaves(variables))


@pytest.mark.parametrize(
  ("name", "scale"),
  [
    # RCAN's 400 convolutions take as long as all others together.
    pytest.param(n, s, marks=pytest.mark.slow if n == "rcan" and s > 2 else ())
    for n in TABLE_1
    for s in SCALES
  ],
)
@pytest.mark.parametrize("index, attn", [(0, "native"), (1, "bam")])
def test_table_1(name, scale, index, attn):
  found = registry.backbone(name).fixed + count(create_model(name, attn, scale))
  assert found == TABLE_1[name][index][SCALES.index(scale)]


@pytest.mark.parametrize("attn", ABLATIONS)
def test_ablations(attn):
  got = [count(create_model("imdn", attn, s)) for s in SCALES]
  assert tuple(got) == ABLATIONS[attn]


def test_published_variants():
  assert 24 + count(create_model("edsr_baseline")) == 1_369_883
  assert 24 + count(create_model("carn_m", groups=4)) == 414_811


# The numbers of values in the released files. The papers print 332K, 340K and
# 352K for BSRN, 480K, 487K and 496K for SMFANet+, and 197K for SMFANet at ×4.
@pytest.mark.parametrize(
  "name, scale, options, parameters",
  [
    ("bsrn", 2, {}, 331_628),
    ("bsrn", 3, {}, 340_283),
    ("bsrn", 4, {}, 352_400),
    ("smfanet", 2, {}, 480_300),
    ("smfanet", 3, {}, 486_795),
    ("smfanet", 4, {}, 495_888),
    ("smfanet", 4, dict(features=36, blocks=8), 197_328),
  ],
)
def test_published_counts(name, scale, options, parameters):
  assert count(create_model(name, scale=scale, **options)) == parameters


def test_names():
  others = ["bsrn", "edsr_baseline", "smfanet"]
  assert list_models() == sorted([*TABLE_1, *others])
  assert list_models() == list(small.OPTIONS)


@pytest.mark.parametrize("name", small.OPTIONS)
def test_every_attention_and_every_scale_builds(name):
  # Not all pairs: attentions and scales are independent.
  kinds = ("native", *ATTENTIONS)
  for attn, scale in zip(kinds, itertools.cycle(SCALES), strict=False):
    output, variables = traced(small.create(name, attn, scale))
    assert output.shape == (1, 8 * scale, 8 * scale, 3)
    dtypes = {x.dtype for x in jax.tree.leaves((output, variables))}
    assert dtypes == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", small.OPTIONS)
def test_attention_is_the_only_difference(name):
  """Without the attentions, BAM's tree is the tree of attention "none"."""

  def names(attn):
    _, variables = traced(small.create(name, attn))
    paths = jax.tree_util.tree_flatten_with_path(variables)[0]
    return {jax.tree_util.keystr(path): x.shape for path, x in paths}

  without = names("none")
  with_bam = names("bam")
  added = set(with_bam) - set(without)
  assert added and all("attention" in path for path in added)
  assert {path: with_bam[path] for path in without} == without


@pytest.mark.parametrize(
  "arguments, said",
  [
    (dict(name="vdsr"), "unknown model 'vdsr'; choose from awsrn, bsrn"),
    (dict(name="imdn", attn="bma"), "unknown attention 'bma'; choose from"),
    (dict(name="imdn", scale=5), "unknown scale 5; choose from 2, 3, 4, 8"),
    (dict(name="imdn", normalization="x"), "imdn has no normalization 'x'"),
    (dict(name="imdn", depth=3), "imdn has no hyper-parameter depth"),
    (dict(name="carn", scale=8), "CARN and CARN-M upscale by 2, 3 or 4"),
    (dict(name="carn_m", scale=8), "CARN and CARN-M upscale by 2, 3 or 4"),
  ],
)
def test_unknown_names_are_user_errors(arguments, said):
  with pytest.raises(UserError, match=said):
    create_model(**arguments)


TOY = """
from typing import Any
from flax import linen as nn
from bamjax.layers import Attention, Conv, Normalization, pixel_shuffle
from bamjax.models.registry import register

@register("toy", native="bam", width=32)
class Toy(nn.Module):
  scale: int = 2
  attention: Attention = Attention()
  normalization: Normalization = Normalization()
  width: int = 16
  dtype: Any = None

  @nn.compact
  def __call__(self, x):
    x = Conv(self.width, name="head")(self.normalization.enter(x))
    x = Conv(3 * self.scale**2, name="tail")(self.attention()(x))
    return self.normalization.leave(pixel_shuffle(x, self.scale))
"""


def test_a_new_backbone_is_one_new_file(tmp_path, monkeypatch):
  (tmp_path / "toy.py").write_text(TOY)
  monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
  monkeypatch.setattr(registry, "_BACKBONES", dict(registry._BACKBONES))
  registry._discover.cache_clear()
  importlib.invalidate_caches()
  try:
    assert "toy" in list_models()
    output, variables = traced(create_model("toy", scale=3))
    assert output.shape == (1, 24, 24, 3)
    assert variables["params"]["head"]["kernel"].shape == (3, 3, 3, 32)
    assert "acam" in variables["params"]["attention"]
    assert "attention" not in traced(create_model("toy", "none"))[1]["params"]
  finally:
    sys.modules.pop("bamjax.models.toy", None)
    registry._discover.cache_clear()
