"""oneDNN's convolution equals XLA's, and is used only where it can be."""

import subprocess
import sys

import jax
from jax import export
import jax.numpy as jnp
import numpy as np
import pytest

from bamjax.layers import compile_for
from bamjax.layers import Conv
from bamjax.layers.cpu import onednn
from bamjax.layers.xla import add_terms
from bamjax.layers.xla import convolve_by_xla

needs_onednn = pytest.mark.skipif(
  not onednn.usable(), reason="this jaxlib's CPU client has no oneDNN"
)
needs_bfloat16 = pytest.mark.skipif(
  not onednn.usable(jnp.bfloat16),
  reason="this processor does not multiply bfloat16, or jaxlib has no oneDNN",
)


def draw(seed, *shape):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def everything(form, x, kernel, **options):
  """Values and derivatives, in both modes and of second order."""

  def f(x, kernel):
    return form(x, kernel, **options)

  def curved(x):
    return jnp.sum(jnp.sin(f(x, kernel)))

  y, pull = jax.vjp(f, x, kernel)
  tangent = jax.jvp(f, (x, kernel), (x + 1, kernel - 1))[1]
  second = jax.grad(lambda x: jnp.sum(jax.grad(curved)(x) ** 2))(x)
  return y, *pull(jnp.cos(y)), tangent, second


@needs_onednn
@pytest.mark.parametrize(
  "size, groups, dilation",
  [(3, 1, 1), (3, 4, 1), (3, 1, 2), (5, 1, 1), (7, 2, 1), (1, 1, 1)],
)
@pytest.mark.parametrize("depth, features", [(16, 32), (4, 12)])
def test_equals_xlas(size, groups, dilation, depth, features):
  x = draw(0, 2, 13, 18, depth)
  kernel = draw(1, size, size, depth // groups, features)
  options = {"groups": groups, "dilation": dilation}
  both = [
    jax.jit(lambda *args, f=form: everything(f, *args, **options))(x, kernel)
    for form in (onednn.convolve, convolve_by_xla)
  ]
  for got, want in zip(*both, strict=True):
    assert got.shape == want.shape
    assert np.abs(got - want).max() < 3e-5 * np.abs(want).max()


@needs_onednn
@pytest.mark.parametrize("activation", ["", "relu", "sigmoid"])
@pytest.mark.parametrize(
  "bias, add", [(True, True), (True, False), (False, True)]
)
def test_fused_operations_equal_xlas(bias, add, activation):
  x, kernel = draw(0, 2, 9, 11, 8), draw(1, 3, 3, 8, 16)
  terms = (
    draw(2, 16) if bias else None,
    draw(3, 2, 9, 11, 16) if add else None,
  )

  def by_xla(x, kernel, *terms):
    y = convolve_by_xla(x, kernel)
    return add_terms(y, *terms, activation=activation)

  def by_onednn(x, kernel, *terms):
    return onednn.convolve(x, kernel, *terms, activation=activation)

  both = []
  for form in (by_onednn, by_xla):
    y, pull = jax.vjp(form, x, kernel, *terms)
    moved = jax.vmap(form, (0, None, None, 0 if add else None))
    mapped = moved(
      *(x[:, None], kernel, terms[0]),
      terms[1][:, None] if add else None,
    )
    both.append(jax.tree.leaves((y, pull(y), mapped)))
  for got, want in zip(*both, strict=True):
    assert got.shape == want.shape
    assert np.abs(got - want).max() < 1e-5 * np.abs(want).max()


def test_unsupported_shapes_and_dtypes_are_refused():
  x, kernel, skip = (
    draw(0, 2, 9, 11, 8),
    draw(1, 3, 3, 8, 16),
    draw(2, 2, 9, 11),
  )
  unfit = (skip[..., None], draw(3, 16), np.bool_(0), draw(3, 2, 9, 11, 16) > 0)
  for add in unfit:
    with pytest.raises(TypeError):
      onednn.convolve(x, kernel, None, add)
  with pytest.raises(TypeError, match="float32 and bfloat16"):
    onednn.convolve(x, jnp.bfloat16(kernel))
  with pytest.raises(TypeError, match="float16"):
    onednn.convolve(jnp.float16(x), jnp.float16(kernel))


def close(got, want):
  """Whether values in bfloat16 are those in float32, but for its 8 bits."""
  assert got.dtype == jnp.bfloat16 and got.shape == want.shape
  return np.abs(np.float32(got) - want).max() < 2**-7 * np.abs(want).max()


@needs_bfloat16
@pytest.mark.parametrize("activation", ["", "relu", "sigmoid"])
@pytest.mark.parametrize(
  "size, groups, dilation", [(3, 1, 1), (3, 2, 2), (1, 1, 1)]
)
def test_bfloat16_equals_float32_but_for_its_digits(
  size, groups, dilation, activation
):
  x, kernel = draw(0, 2, 33, 18, 16), draw(1, size, size, 16 // groups, 20)
  bias, add, dy = draw(2, 20), draw(3, 2, 33, 18, 20), draw(4, 2, 33, 18, 20)
  options = {"groups": groups, "dilation": dilation, "activation": activation}
  inputs = [jnp.bfloat16(a) for a in (x, kernel, bias, add)]

  @jax.jit
  def run(*inputs):
    y, pull = jax.vjp(lambda *args: onednn.convolve(*args, **options), *inputs)
    return y, pull(dy.astype(y.dtype))

  got = jax.tree.leaves(run(*inputs))
  want = jax.tree.leaves(run(*(np.float32(a) for a in inputs)))
  # Where the ReLU cuts is a matter of rounding: compare what it let through.
  assert close(got[0], want[0])
  for ours, exact in zip(got[1:], want[1:], strict=True):
    distance = np.linalg.norm(np.float32(ours) - exact)
    assert distance < 0.02 * np.linalg.norm(exact)


@needs_bfloat16
def test_the_gradient_of_a_bias_is_summed_in_float32():
  # 65536 ones: bfloat16 stops counting at 256.
  x, kernel, bias = (
    jnp.ones((1, 256, 256, 2)),
    jnp.ones((1, 1, 2, 4)),
    jnp.ones(4),
  )

  def total(bias):
    inputs = [a.astype(jnp.bfloat16) for a in (x, kernel, bias)]
    return jnp.sum(onednn.convolve(*inputs), dtype=jnp.float32)

  np.testing.assert_array_equal(jax.jit(jax.grad(total))(bias), 65536)


@needs_bfloat16
def test_gradients_of_each_image_are_a_batch():
  x, kernel = draw(0, 3, 1, 9, 11, 8), draw(1, 3, 3, 8, 16)
  x, kernel = jnp.bfloat16(x), jnp.bfloat16(kernel)

  def total(kernel, x):
    return jnp.sum(onednn.convolve(x, kernel) ** 2, dtype=jnp.float32)

  got = jax.vmap(jax.grad(total), (None, 0))(kernel, x)
  want = jnp.stack([jax.grad(total)(kernel, image) for image in x])
  distance = np.linalg.norm(np.float32(got) - np.float32(want))
  assert distance < 2**-8 * np.linalg.norm(np.float32(want))


def test_processors_without_instructions_for_it_leave_bfloat16_to_xla(
  monkeypatch,
):
  convolve = jax.jit(Conv(16).apply)
  x = jnp.bfloat16(draw(0, 1, 9, 9, 16))
  parameters = Conv(16).init(jax.random.key(0), x)
  half = jax.tree.map(jnp.bfloat16, parameters)
  monkeypatch.setattr(onednn, "multiplies_bfloat16", lambda: False)
  onednn.works.cache_clear()
  try:
    assert not onednn.usable(jnp.bfloat16)
    assert "onednn" not in convolve.lower(half, x).as_text()
    assert not onednn.usable(jnp.float16)
  finally:
    onednn.works.cache_clear()


@pytest.mark.parametrize(
  "flags, expected",
  [
    ("flags\t\t: fpu avx512f amx_bf16 sse", True),
    ("flags : avx512_bf16", True),
    ("flags : avx512f avx512_vnni", False),
    ("Features : asimd bf16", False),
    ("", False),
  ],
)
def test_reads_the_processors_flags(tmp_path, flags, expected):
  file = tmp_path / "cpuinfo"
  file.write_text(f"processor : 0\n{flags}\n\nprocessor : 1\n")
  assert onednn.multiplies_bfloat16(file) == expected
  assert not onednn.multiplies_bfloat16(tmp_path / "none")


@needs_onednn
@pytest.mark.parametrize("axes", [(0, None), (2, None), (0, 0), (None, 0)])
def test_maps_over_a_batch(axes):
  x, kernel = draw(0, 3, 2, 3, 9, 8), draw(1, 3, 3, 3, 8, 8)
  if axes[0] is None:
    x = x[0]
  if axes[1] is None:
    kernel = kernel[0]
  got = jax.vmap(onednn.convolve, axes)(x, kernel)
  want = jax.vmap(convolve_by_xla, axes)(x, kernel)
  np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@needs_onednn
def test_runs_without_jit_inside_scan_and_remat():
  x, kernel = draw(0, 3, 1, 16, 16, 16), draw(1, 3, 3, 16, 16)

  def total(kernel, form):
    f = jax.checkpoint(lambda a: jnp.sum(form(a, kernel) ** 2))
    return jax.lax.map(f, x).sum()

  for kind in (jax.grad(total), total):
    got, want = kind(kernel, onednn.convolve), kind(kernel, convolve_by_xla)
    np.testing.assert_allclose(got, want, rtol=1e-4)


def lowered(x, **options):
  module = Conv(32, **options)
  variables = module.init(jax.random.key(0), x)
  # A new function each time, because jit's key misses what `usable` checks.
  return jax.jit(lambda v, x: module.apply(v, x)).lower(variables, x).as_text()


@needs_onednn
def test_convolutions_use_onednn_in_the_dtypes_that_it_speeds_up():
  x = draw(0, 1, 16, 16, 32)
  for options in ({}, {"kernel_size": 5}, {"dilation": 2}, {"groups": 4}):
    text = lowered(x, **options)
    assert "__onednn$convolution" in text
    assert "stablehlo.convolution" not in text
  half = "onednn" in lowered(x, dtype=jnp.bfloat16)
  assert half == onednn.multiplies_bfloat16()
  assert "onednn" not in lowered(x, dtype=jnp.float16)


@needs_onednn
def test_other_platforms_use_xlas_convolution():
  x, kernel = draw(0, 1, 16, 16, 32), draw(1, 3, 3, 32, 32)
  exported = export.export(jax.jit(onednn.convolve), platforms=["cuda"])
  text = exported(x, kernel).mlir_module()
  assert text.count("stablehlo.convolution") == 1
  assert "@__onednn" not in text


def test_programs_for_export_do_not_use_it():
  x = draw(0, 1, 16, 16, 32)
  with compile_for("export"):
    assert "stablehlo.convolution" in lowered(x)


_KEPT = """
import sys
import jax
import numpy as np
from bamjax.layers import Conv
from bamjax.layers.cpu import onednn
if sys.argv[1:]:
  jax.config.update("jax_compilation_cache_dir", sys.argv[1])
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
module = Conv(32)
x = np.ones((1, 16, 16, 32), np.float32)
text = jax.jit(module.init_with_output).lower(jax.random.key(0), x)
jax.block_until_ready(jax.jit(module.init_with_output)(jax.random.key(0), x))
print("onednn" in text.as_text(), onednn.works())
"""


@pytest.mark.parametrize("kept", [True, False])
def test_programs_in_a_persistent_cache_do_not_use_it(kept, tmp_path):
  run = subprocess.run(
    [sys.executable, "-W", "error", "-c", _KEPT, *[str(tmp_path)] * kept],
    capture_output=True,
    text=True,
    check=True,
  )
  held, works = run.stdout.split()
  assert held == ("False" if kept else works)
  assert any(tmp_path.iterdir()) == kept


@needs_onednn
def test_runs_with_jit_disabled():
  x, kernel = draw(0, 1, 9, 11, 8), draw(1, 3, 3, 8, 16)
  with jax.disable_jit():
    got = onednn.convolve(x, kernel)
  np.testing.assert_allclose(got, convolve_by_xla(x, kernel), 1e-4, 1e-4)
