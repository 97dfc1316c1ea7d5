"""Attentions record their weights if `intermediates` is mutable."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from layers.definitions import build
from layers.definitions import channel_weights
from layers.definitions import KINDS
from layers.definitions import random_features
from layers.definitions import spatial_weights
from layers.definitions import to_numpy


def sown(net, variables, x):
  """Returns what an attention records, by name."""
  y, state = net.apply(variables, x, mutable=["intermediates"])
  found = state["intermediates"]["attention"]
  assert all(len(calls) == 1 for calls in found.values())
  return y, {name: weights for name, (weights,) in found.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_recorded_weights_are_the_factors_of_the_features(kind):
  x = random_features()
  net, variables = build(kind, x)
  y, found = sown(net, variables, x)
  shapes = {
    "channel_weights": (2, 1, 1, 32),
    "spatial_weights": (2, 9, 8, 1),
    "pixel_weights": x.shape,
  }
  product = x
  for name, weights in found.items():
    assert weights.shape == shapes[name]
    assert jnp.all((weights > 0) & (weights < 1))
    product = product * weights
  np.testing.assert_allclose(product, y, 1e-6, 1e-7)


def test_bam_records_channel_and_spatial_weights():
  x = random_features()
  net, variables = build("bam", x)
  p = to_numpy(variables)
  x64 = np.asarray(x, np.float64)
  _, found = sown(net, variables, x)
  for name, want in (
    ("channel_weights", channel_weights(x64, p["acam"])),
    ("spatial_weights", spatial_weights(x64, p["msam"])),
  ):
    np.testing.assert_allclose(found[name], want, 2e-5, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_recorded_unless_intermediates_are_mutable(
  kind, monkeypatch
):
  x = random_features()
  net, variables = build(kind, x)

  def programs():
    # A new function each time, because JAX caches traces.
    forward = jax.jit(lambda v, x: net.apply(v, x))
    gradient = jax.jit(jax.grad(lambda v, x: net.apply(v, x).sum()))
    return [f.lower(variables, x).as_text() for f in (forward, gradient)]

  recording = programs()
  monkeypatch.setattr(nn.Module, "sow", lambda *_: pytest.fail("kept"))
  with pytest.raises(pytest.fail.Exception, match="kept"):
    programs()
  monkeypatch.setattr(nn.Module, "sow", lambda *_: False)
  assert recording == programs()
  assert set(jax.eval_shape(net.init, jax.random.key(0), x)) == {"params"}
