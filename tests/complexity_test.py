"""Counts of parameters and operations against the paper's tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bamjax import complexity
from bamjax.layers import compile_for
from bamjax.models import create_model
from weights.goldens import Goldens

CASES = Goldens().cases
COMPARED = ("cca", "ca", "se", "cbam", "bam")


# registry_test checks all of them against the paper's counts.
@pytest.mark.parametrize("key", ["carn_m-bam-x2", "imdn-cca-x4", "pan-bam-x2"])
def test_parameters_equal_the_reference(key):
  case = CASES[key]
  module = create_model(case["model"], case["attn"], case["scale"])
  counts = complexity.summary(module, 8, 8)
  assert counts["parameters"] == case["parameters"]


@pytest.mark.parametrize(
  ("scale", "printed"),
  (
    (2, ("70.000", "70.000", "70.000", "70.086", "70.027")),
    (3, ("70.831", "70.831", "70.831", "70.917", "70.858")),
    (4, ("71.994", "71.994", "71.994", "72.080", "72.021")),
  ),
)
def test_paper_gflops_are_table_2(scale, printed):
  for attn, expected in zip(COMPARED, printed, strict=True):
    counts = complexity.summary(create_model("imdn", attn, scale))
    assert f"{counts['paper_gflops']:.3f}" == expected, attn


def test_macs_of_imdn():
  counts = complexity.summary(create_model("imdn", "cca", 2), 240, 360)
  assert f"{counts['macs'] / 1e9:.3f}" == "59.537"


@pytest.mark.parametrize("groups", (1, 4))
@pytest.mark.parametrize("name", ("carn", "carn_m"))
def test_macs_are_half_of_xlas_flops(name, groups):
  # XLA counts no products with padding, which are few in a large image, nor the
  # branches of CARN's other scales. It does count biases and skips.
  module = create_model(name, scale=4, groups=groups)
  x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), x)
  with compile_for("export"):
    flops = jax.jit(module.apply).lower(variables, x).cost_analysis()["flops"]
  macs = complexity.summary(module, 64, 64)["macs"]
  np.testing.assert_allclose(2 * macs, flops, rtol=0.03)


@pytest.mark.parametrize("name", ("edsr_baseline", "rcan", "drln"))
def test_rematerialisation_changes_no_count(name):
  small = {
    "edsr_baseline": dict(blocks=2),
    "rcan": dict(groups=1, blocks=2),
    "drln": dict(groups=(2, 2)),
  }[name]
  counts = [
    complexity.summary(create_model(name, "bam", remat=remat, **small), 8, 8)
    for remat in (False, True)
  ]
  assert counts[0] == counts[1]


def test_counts_by_hand():
  module = create_model("edsr", blocks=1, features=4, scale=2)
  counts = complexity.summary(module, 5, 7)
  pixels = 5 * 7
  # Head, block and body; the upsampler; the tail.
  inner = 3 * 4 + 2 * 4 * 4 + 4 * 4
  assert counts["macs"] == pixels * 9 * (inner + 4 * 16 + 4 * 4 * 3)
  assert counts["trainable"] == (9 * (inner + 4 * 16 + 4 * 3) + 4 * 4 + 16 + 3)
  assert counts["parameters"] == counts["trainable"] + 24
  # A ReLU in the block, a pixel shuffle of 16 channels.
  operations = counts["macs"] / 9 * 10 + pixels * (4 + 16)
  assert counts["paper_gflops"] == pytest.approx(operations / 1e9, rel=1e-12)


def test_counts_grow_with_the_input():
  module = create_model("pan", "bam", 3)
  small, large = (complexity.summary(module, h, 12) for h in (8, 16))
  assert large["macs"] > small["macs"]
  assert large["parameters"] == small["parameters"]


def test_other_modules_are_refused():
  from bamjax.layers import BAM

  with pytest.raises(ValueError):
    complexity.summary(BAM())


@pytest.mark.parametrize("size", [(0, 5), (5, -3)])
def test_an_image_without_pixels_is_refused(size):
  with pytest.raises(ValueError, match="at least 1×1"):
    complexity.summary(create_model("pan"), *size)
