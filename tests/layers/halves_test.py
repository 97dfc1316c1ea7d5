"""bfloat16 by integers is what JAX's own conversions are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bamjax.layers import compile_for
from bamjax.layers import halves


def every_kind():
  """Random bits of float32, ties, infinities, NaN and subnormal numbers."""
  bits = np.random.default_rng(0).integers(0, 2**32, 200_000, np.uint32)
  values = bits.view(np.float32)
  ties = (bits & 0xFFFF0000 | 0x8000).view(np.float32)
  values = np.concatenate([values, ties])
  special = np.float32([0, -0.0, np.inf, -np.inf, np.nan, 1e-40, 3.4e38])
  # Of NaN, only the one that processors make.
  return np.concatenate([values[~np.isnan(values)], special])


def test_rounds_as_jax_does():
  x = every_kind()
  got = np.float32(jax.jit(lambda x: halves.convert(x, jnp.bfloat16))(x))
  with np.errstate(invalid="ignore"):
    want = np.float32(x.astype(jnp.bfloat16))
  np.testing.assert_array_equal(got, want)


def test_other_conversions_are_jaxs():
  x = jnp.arange(3, dtype=jnp.bfloat16)
  assert halves.convert(x, jnp.float32).dtype == jnp.float32
  assert halves.convert(x, jnp.float16).dtype == jnp.float16
  x, none, y = halves.promote(x, None, jnp.ones(2, jnp.float32))
  assert none is None and x.dtype == y.dtype == jnp.float32
  assert halves.promote(jnp.arange(3))[0].dtype == jnp.float32


def test_element_by_element_rounds_once():
  # 1 + 2⁻⁸ rounds to 1 in bfloat16: rounded twice, the result would be 0.
  x = jnp.asarray([2.0**-8], jnp.bfloat16)
  got = halves.elementwise(lambda x: (1 + x) - 1, x)
  assert got.dtype == jnp.bfloat16
  assert got[0] == x[0]


def test_gradients_pass_through_integers():
  x = jnp.asarray([[[[1.5, -2, 3, 4]]]], jnp.bfloat16)

  def f(x):
    y = halves.elementwise(lambda x: x**2, x)
    both = halves.concatenate([y, 3 * y])
    return jnp.sum(halves.convert(both.astype(jnp.float32), jnp.bfloat16))

  np.testing.assert_array_equal(jax.jit(jax.grad(f))(x), 8 * x)


@pytest.mark.parametrize("widths", [(2, 4, 6), (1, 3), (5,)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_concatenates_channels(widths, dtype):
  draw = np.random.default_rng(0).standard_normal
  parts = [jnp.asarray(draw((2, 3, 4, n)), dtype) for n in widths]
  got = jax.jit(halves.concatenate)(parts)
  np.testing.assert_array_equal(got, jnp.concatenate(parts, axis=-1))


def test_programs_for_elsewhere_hold_no_integers():
  def f(x):
    y = halves.convert(x, jnp.bfloat16)
    return halves.concatenate([y, y])

  with compile_for("export"):
    text = jax.jit(f).lower(np.zeros((1, 2, 2, 2), np.float32)).as_text()
  assert "bitcast" not in text and "ui32" not in text
