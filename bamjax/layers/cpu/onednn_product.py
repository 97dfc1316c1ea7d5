"""oneDNN's matrix product of bfloat16, which is in jaxlib.

As with the convolution (`bamjax.layers.cpu.onednn`), XLA compiles the custom
call `__onednn$matmul` to a call of the oneDNN that is linked into jaxlib. XLA's
own product of bfloat16 is no faster than that of float32.
"""

import json
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad
from jax.interpreters import batching
from jax.interpreters import mlir
import jax.numpy as jnp

_CONFIG = json.dumps(
  {"onednn_matmul_config": {"transpose_a": True, "transpose_b": False}}
)


def transposed_product(a: jax.Array, b: jax.Array) -> jax.Array:
  """Computes aᵀb.

  Args:
    a: K×M, bfloat16.
    b: K×N, bfloat16.

  Returns:
    M×N, float32.
  """
  return _product.bind(a, b)


def _output(
  a: jax.core.ShapedArray, b: jax.core.ShapedArray
) -> jax.core.ShapedArray:
  """Returns the output's shape and dtype, and checks those of the inputs."""
  for array in (a, b):
    if array.dtype != jnp.bfloat16:
      raise TypeError(f"the product needs bfloat16, not {array.dtype}")
  if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[0] != b.shape[0]:
    raise TypeError(f"{a.shape} does not fit {b.shape}")
  return jax.core.ShapedArray((a.shape[1], b.shape[1]), jnp.float32)


def _by_xla(a: jax.Array, b: jax.Array) -> jax.Array:
  return jnp.matmul(a.T, b, preferred_element_type=jnp.float32)


def _lower_on_cpu(context: mlir.LoweringRuleContext, *arguments: Any) -> Any:
  call = jax.ffi.ffi_lowering(
    "__onednn$matmul", api_version=2, backend_config=_CONFIG
  )
  return call(context, *arguments)


_product = Primitive("onednn_transposed_product")
_product.def_abstract_eval(_output)
_product.def_impl(jax.jit(_product.bind))
# Linear in each of a and b; their own gradients are rarely needed.
ad.defbilinear(
  _product,
  lambda y, a, b: b @ y.T.astype(b.dtype),
  lambda y, a, b: a @ y.astype(a.dtype),
)
batching.primitive_batchers[_product] = lambda arrays, axes: (
  jax.vmap(_by_xla, axes)(*arrays),
  0,
)
mlir.register_lowering(_product, _lower_on_cpu, platform="cpu")
mlir.register_lowering(
  _product, mlir.lower_fun(_by_xla, multiple_results=False)
)
