"""Which dtype a network computes in on this machine."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bamjax import create_model
from bamjax.errors import UserError
from bamjax.inference import precision
from bamjax.inference import Upscaler
from bamjax.layers.cpu import onednn


@pytest.fixture(scope="module")
def network():
  module = create_model("pan", "bam", 2, blocks=1)
  variables = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
  return module, variables


def image(dtype):
  values = np.random.default_rng(0).random((9, 11, 3))
  peak = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
  return (peak * values).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("native", [True, False])
def test_only_results_of_8_bits_are_bfloat16(
  network, dtype, native, monkeypatch
):
  monkeypatch.setattr(precision, "prefers_bfloat16", lambda: native)
  lr = image(dtype)
  by = {
    name: Upscaler(*network, dtype=name)(lr).astype(
      np.int64 if lr.dtype.kind == "u" else np.float64
    )
    for name in ("auto", "float32", "bfloat16")
  }
  half = native and dtype == np.uint8
  np.testing.assert_array_equal(
    by["auto"], by["bfloat16" if half else "float32"]
  )
  # The two differ, or this would prove nothing, and only by a few levels.
  assert not np.array_equal(by["bfloat16"], by["float32"])
  peak = np.iinfo(dtype).max if lr.dtype.kind == "u" else 1
  assert np.abs(by["bfloat16"] - by["float32"]).max() < 0.02 * peak


def test_networks_of_another_kind_stay(monkeypatch):
  class Own(nn.Module):
    scale: int = 2

  monkeypatch.setattr(precision, "prefers_bfloat16", lambda: True)
  assert precision.for_8_bits(Own()) == Own()
  with pytest.raises(UserError, match="Own is no backbone"):
    precision.with_dtype(Own(), jnp.bfloat16)
  chosen = create_model("pan", dtype=jnp.float32)
  assert precision.for_8_bits(chosen) == chosen


@pytest.mark.parametrize("name", ["bsrn", "smfanet"])
def test_networks_that_would_lose_quality_stay(name, monkeypatch):
  monkeypatch.setattr(precision, "prefers_bfloat16", lambda: True)
  module = create_model(name)
  assert precision.for_8_bits(module) == module


def test_a_processor_without_instructions_prefers_float32(monkeypatch):
  monkeypatch.setattr(onednn, "multiplies_bfloat16", lambda: False)
  onednn.works.cache_clear()
  try:
    assert not precision.prefers_bfloat16()
  finally:
    onednn.works.cache_clear()


def test_what_is_slower_is_not_preferred(monkeypatch):
  seconds = {jnp.bfloat16: 2.0, jnp.float32: 1.0}
  monkeypatch.setattr(precision, "_seconds", seconds.get)
  precision._is_faster.cache_clear()
  try:
    assert not precision._is_faster()
  finally:
    precision._is_faster.cache_clear()


@pytest.mark.parametrize("dtype", ["float16", "half", "int8"])
def test_other_dtypes_are_refused(network, dtype):
  with pytest.raises(UserError, match="auto, float32 or bfloat16"):
    Upscaler(*network, dtype=dtype)
