"""The algorithms on the CPU have the same results as XLA's convolution."""

import jax
from jax import export
import jax.numpy as jnp
import numpy as np
import pytest

from bamjax.layers import BAM
from bamjax.layers import compile_for
from bamjax.layers import Conv
from bamjax.layers import convolution
from bamjax.layers import PA
from bamjax.layers.cpu import onednn
from bamjax.layers.xla import convolve_by_xla


def draw(seed, *shape):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def error(got, want):
  """Largest difference relative to the largest value."""
  return np.abs(np.asarray(got) - want).max() / np.abs(want).max()


def gradients(x, kernel, dy):
  y, pull = jax.vjp(convolution.convolve, x, kernel)
  return y, *pull(dy)


def text(function, *args, platforms=("cpu",)):
  exported = export.export(jax.jit(function), platforms=platforms)(*args)
  return exported.mlir_module()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_convolution_group_by_group_equals_xlas(dtype):
  module = Conv(12, groups=3, dtype=dtype)
  x = draw(0, 2, 9, 11, 6)
  variables = module.init(jax.random.key(0), x)
  bias = variables["params"]["bias"]
  kernel = variables["params"]["kernel"]
  with compile_for("export"):
    got = jax.jit(lambda v, x: module.apply(v, x))(variables, x)
  want = convolve_by_xla(x, kernel, groups=3) + bias
  assert got.dtype == dtype
  assert error(np.float32(got), want) < (1e-5 if dtype == "float32" else 2e-2)


@pytest.mark.parametrize("depth", [1, 2])
def test_tap_by_tap_convolution_equals_xlas(depth):
  x, kernel = draw(0, 2, 17, 19, depth), draw(1, 7, 7, depth, 1)
  dy = draw(2, 2, 17, 19, 1)

  def by_xla(x, kernel, dy):
    y, pull = jax.vjp(convolve_by_xla, x, kernel)
    return y, *pull(dy)

  ours = jax.jit(gradients)(x, kernel, dy)
  assert "stablehlo.convolution" not in text(convolution.convolve, x, kernel)
  assert "stablehlo.convolution" in text(
    convolution.convolve, x, kernel, platforms=["cuda"]
  )
  for a, b in zip(ours, jax.jit(by_xla)(x, kernel, dy), strict=True):
    assert error(a, np.asarray(b)) < 1e-5


def test_bam_materializes_its_input_but_not_in_programs_for_export():
  x = jnp.ones((1, 8, 8, 16))
  bam = BAM()
  variables = bam.init(jax.random.key(0), x)

  def first_operation():
    return jax.make_jaxpr(lambda x: bam.apply(variables, x))(x).eqns[0]

  assert first_operation().primitive.name == "optimization_barrier"
  with compile_for("export"):
    assert first_operation().primitive.name != "optimization_barrier"


def test_bam_alone_can_be_exported_as_any_layer():
  x = jnp.ones((1, 8, 8, 16))
  bam = BAM()
  variables = bam.init(jax.random.key(0), x)
  exported = export.export(jax.jit(bam.apply))(variables, x)
  assert exported.serialize()


def test_enlarged_maps_are_stored_once():
  if not onednn.usable():
    pytest.skip("oneDNN is not used here")
  conv, gate = Conv(24, upsample=2), PA()
  x = draw(0, 1, 40, 40, 8)
  variables = conv.init(jax.random.key(0), x)
  enlarged = conv.apply(variables, x)
  gates = gate.init(jax.random.key(1), enlarged)

  def run(variables, gates, x):
    return gate.apply(gates, conv.apply(variables, x))

  compiled = jax.jit(run).lower(variables, gates, x).compile()
  # Before they are interleaved, they may be where the result comes.
  memory = compiled.memory_analysis().temp_size_in_bytes
  assert memory < 1.5 * enlarged.nbytes


def test_programs_for_onnx_have_no_choice_between_platforms():
  x = jnp.ones((1, 8, 8, 16))
  bam = BAM()
  variables = bam.init(jax.random.key(0), x)

  def program():
    return str(jax.make_jaxpr(lambda x: bam.apply(variables, x))(x))

  assert "platform_index" in program()
  with compile_for("onnx"):
    assert "platform_index" not in program()
