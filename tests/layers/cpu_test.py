"""The choice of the CPU's algorithm changes no result and no other device."""

import jax
from jax import export
import jax.numpy as jnp
import numpy as np
import pytest

from bamjax.layers import Conv
from bamjax.layers import convolution
from bamjax.layers import cpu
from bamjax.layers.cpu import many_runs


def draw(seed, *shape):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def error(got, want):
  """Largest difference relative to the largest value."""
  return np.abs(np.asarray(got) - want).max() / np.abs(want).max()


def gradients(x, kernel, dy):
  y, pull = jax.vjp(convolution.convolve, x, kernel)
  return y, *pull(dy)


@pytest.mark.parametrize("small", [True, False])
def test_a_wide_conv_that_runs_many_times_equals_one_that_runs_once(
  small, monkeypatch
):
  if not small:
    monkeypatch.setattr(cpu, "_SMALL", 0)
    monkeypatch.setattr(cpu, "_NARROW", 0)
  x, kernel = draw(0, 2, 17, 20, 32), draw(1, 3, 3, 32, 16)
  dy = draw(2, 2, 17, 20, 16)
  once = jax.jit(gradients)(x, kernel, dy)
  # A function of its own: what `small` changes is not in jit's cache key.
  with many_runs(True):
    many = jax.jit(lambda *args: gradients(*args))(x, kernel, dy)
  for a, b in zip(many, once, strict=True):
    assert error(a, np.asarray(b)) < 1e-5
    assert (np.asarray(a) != np.asarray(b)).any()


def text(function, *args, platforms=("cpu",)):
  exported = export.export(jax.jit(function), platforms=platforms)(*args)
  return exported.mlir_module()


def test_only_the_cpu_leaves_xlas_convolution():
  x, kernel = draw(0, 1, 16, 16, 32), draw(1, 3, 3, 32, 32)
  with many_runs(True):
    for platform in ("cuda", "tpu"):
      module = text(
        lambda *a: gradients(*a), x, kernel, x, platforms=[platform]
      )
      assert module.count("stablehlo.convolution") == 3
      assert "stablehlo.while" not in module
    assert "stablehlo.convolution" not in text(
      lambda *a: gradients(*a), x, kernel, x
    )


@pytest.mark.parametrize(
  "options",
  [{"dilation": 2}, {"kernel_size": 5}, {"dtype": jnp.bfloat16}, "narrow"],
)
def test_other_convs_stay_as_they_are(options):
  narrow = options == "narrow"
  module = Conv(8 if narrow else 32, **({} if narrow else options))
  x = draw(0, 1, 16, 16, 32)
  variables = module.init(jax.random.key(0), x)
  with many_runs(True):
    many = text(lambda v, x: module.apply(v, x), variables, x)
  assert "stablehlo.convolution" in many


@pytest.mark.parametrize("transform", ["vmap", "scan", "remat"])
def test_works_inside_transformations(transform):
  x, kernel = draw(0, 3, 1, 16, 16, 16), draw(1, 3, 3, 16, 16)
  forms = {
    "vmap": lambda f: jax.vmap(f),
    "scan": lambda f: lambda x: jax.lax.map(f, x),
    "remat": lambda f: jax.vmap(jax.checkpoint(f)),
  }

  def total(kernel):
    f = forms[transform](lambda a: convolution.convolve(a, kernel))
    return jnp.sum(f(x) ** 2)

  with many_runs(True):
    many = jax.jit(jax.value_and_grad(total))(kernel)
  once = jax.jit(jax.value_and_grad(total))(kernel)
  for a, b in zip(many, once, strict=True):
    assert error(a, np.asarray(b)) < 1e-5


@pytest.mark.parametrize("depth", [1, 2])
def test_a_map_is_convolved_tap_by_tap_with_equal_results(depth):
  x, kernel = draw(0, 2, 17, 19, depth), draw(1, 7, 7, depth, 1)
  dy = draw(2, 2, 17, 19, 1)

  def by_xla(x, kernel, dy):
    y, pull = jax.vjp(cpu.direct, x, kernel)
    return y, *pull(dy)

  ours = jax.jit(gradients)(x, kernel, dy)
  assert "stablehlo.convolution" not in text(convolution.convolve, x, kernel)
  assert "stablehlo.convolution" in text(
    convolution.convolve, x, kernel, platforms=["cuda"]
  )
  for a, b in zip(ours, jax.jit(by_xla)(x, kernel, dy), strict=True):
    assert error(a, np.asarray(b)) < 1e-5


def test_forward_mode_goes_through_what_runs_once():
  x, kernel = draw(0, 1, 16, 16, 32), draw(1, 3, 3, 32, 32)
  _, tangent = jax.jvp(lambda x: convolution.convolve(x, kernel), (x,), (x,))
  y = convolution.convolve(x, kernel)
  np.testing.assert_allclose(tangent, y, rtol=1e-4, atol=1e-4)
