"""oneDNN's convolution, which is in jaxlib but which XLA doesn't use by itself.

On the CPU, XLA compiles the custom call `__onednn$convolution` to a call of the
oneDNN that is linked into jaxlib for x86 Linux. It is PyTorch's convolution, 1
to 2 times as fast as XLA's, and takes no longer to compile
(docs/performance.md). Because the call is undocumented, it is used only on the
versions of jaxlib that it was tested on, and only after a small convolution has
returned the right values (`works`).
"""

from collections.abc import Sequence
import functools
import json
from pathlib import Path
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad
from jax.interpreters import batching
from jax.interpreters import mlir
import jax.numpy as jnp
from jax.typing import DTypeLike
import jaxlib
import numpy as np

from bamjax.layers import halves
from bamjax.layers import purpose
from bamjax.layers.cpu.kernel_gradient import kernel_gradient
from bamjax.layers.xla import add_terms
from bamjax.layers.xla import convolve_by_xla

_VERSIONS = ((0, 10), (0, 11), (0, 12))

# oneDNN's instructions for bfloat16, as Linux names them.
_FLAGS = {"avx512_bf16", "amx_bf16"}


def usable(dtype: DTypeLike = jnp.float32) -> bool:
  """Whether the program that is being traced may convolve a dtype by oneDNN.

  False with several devices, over which XLA can't partition the call, and with
  a persistent compilation cache, because XLA can't serialize the call.
  """
  return (
    not purpose.is_portable()
    and not _caches_programs()
    and jax.default_backend() == "cpu"
    and jax.device_count() == 1
    and works(jnp.dtype(dtype))
  )


def _caches_programs() -> bool:
  config: Any = jax.config  # its attributes are made at run time
  kept = bool(config.jax_compilation_cache_dir)
  return kept and config.jax_enable_compilation_cache


def multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
  """Whether the processor has instructions that multiply bfloat16."""
  try:
    lines = cpuinfo.read_text().splitlines()
  except OSError:
    return False
  flags = next((line for line in lines if line.startswith("flags")), "")
  return not _FLAGS.isdisjoint(flags.split())


@functools.cache
def works(dtype: jnp.dtype | type = jnp.float32) -> bool:
  """Whether a small convolution by oneDNN returns the right values.

  For bfloat16, the processor must multiply it, too: elsewhere oneDNN would
  convert it, which gains nothing.
  """
  if jaxlib.version.__version_info__[:2] not in _VERSIONS:
    return False
  if dtype != jnp.float32 and not (
    dtype == jnp.bfloat16 and multiplies_bfloat16()
  ):
    return False
  rng = np.random.default_rng(0)
  x = rng.random((2, 7, 9, 16), np.float32)
  kernel = rng.random((3, 3, 8, 32), np.float32)
  bias = rng.random(32, np.float32)
  add = -9 * rng.random((2, 7, 9, 32))
  try:
    with jax.ensure_compile_time_eval():
      arrays = [jnp.asarray(a, dtype) for a in (x, kernel, bias, add)]
      options: Any = {"groups": 2, "dilation": 2, "activation": "relu"}
      got = np.asarray(convolve(*arrays, **options))
      arrays = [a.astype(jnp.float32) for a in arrays]
      want = np.asarray(jax.jit(functools.partial(_by_xla, **options))(*arrays))
  except Exception:  # XLA raises various errors if it does not know the call
    return False
  error = float(jnp.finfo(dtype).eps) if dtype == jnp.bfloat16 else 1e-4
  return np.allclose(got.astype(np.float32), want, rtol=error, atol=error)


def convolve(
  x: jax.Array,
  kernel: jax.Array,
  bias: jax.Array | None = None,
  add: jax.Array | None = None,
  *,
  activation: str = "",
  groups: int = 1,
  dilation: int = 1,
  wide: bool = False,
) -> jax.Array:
  """Implements `bamjax.layers.convolution.convolve` by oneDNN.

  For float32 and bfloat16.

  In programs for other platforms, it uses XLA's operations.
  """
  options = {"groups": groups, "dilation": dilation, "wide": wide}
  if bias is None and add is None and not activation:
    return _convolution.bind(x, kernel, **options)
  # XLA's names of the operations that oneDNN fuses with the convolution.
  candidates = {"BIAS": bias, "BINARY_ADD": add}
  terms = {name: a for name, a in candidates.items() if a is not None}
  return _fused.bind(
    x,
    kernel,
    *terms.values(),
    after=tuple(terms),
    activation=activation,
    **options,
  )


def transposed(kernel: jax.Array, groups: int = 1) -> jax.Array:
  """Returns the kernel of the transposed convolution: of the gradient of x."""
  k, _, depth, features = kernel.shape
  kernel = kernel[::-1, ::-1].reshape(k, k, depth, groups, features // groups)
  kernel = kernel.transpose(0, 1, 4, 3, 2)
  return kernel.reshape(k, k, features // groups, groups * depth)


def _output(
  x: jax.core.ShapedArray,
  kernel: jax.core.ShapedArray,
  *terms: jax.core.ShapedArray,
  after: Sequence[str] = (),
  wide: bool = False,
  **_: Any,
) -> jax.core.ShapedArray:
  """Returns the output's shape and dtype, and checks those of the inputs.

  oneDNN would reinterpret the bytes of arrays of another shape or dtype.

  Raises:
    TypeError: a dtype or shape does not fit.
  """
  shape = (*x.shape[:3], kernel.shape[-1])
  for array in (x, kernel, *terms):
    if array.dtype != x.dtype or x.dtype not in (jnp.float32, jnp.bfloat16):
      raise TypeError(
        "convolution by oneDNN needs float32 or bfloat16 throughout; got"
        f" {x.dtype} and {array.dtype}"
      )
  for name, term in zip(after, terms, strict=True):
    if term.shape != (shape[-1:] if name == "BIAS" else shape):
      raise TypeError(f"{term.shape} cannot be added to {shape}")
  return jax.core.ShapedArray(shape, jnp.float32 if wide else x.dtype)


def _define(name: str) -> Primitive:
  """Makes an operation with the output shape of a convolution."""
  primitive = Primitive(name)
  primitive.def_abstract_eval(_output)

  @functools.partial(jax.jit, static_argnums=0)
  def run(
    options: tuple[tuple[str, Any], ...], *arguments: jax.Array
  ) -> jax.Array:
    return primitive.bind(*arguments, **dict(options))

  def compiled(*arguments: jax.Array, **options: Any) -> jax.Array:
    # Only XLA can run the call, so compile it even if JIT is disabled.
    with jax.disable_jit(False):
      return run(tuple(options.items()), *arguments)

  primitive.def_impl(compiled)
  return primitive


# Linear in each of x and kernel.
_convolution = _define("onednn_convolution")
# The same with fused additions and ReLU.
_fused = _define("onednn_fused_convolution")


def _transpose_x(
  dy: jax.Array,
  x: Any,
  kernel: jax.Array,
  *,
  groups: int,
  dilation: int,
  wide: bool,
) -> jax.Array:
  del x, wide
  return convolve(
    halves.convert(dy, kernel.dtype),
    transposed(kernel, groups),
    groups=groups,
    dilation=dilation,
  )


def _transpose_kernel(
  dy: jax.Array,
  x: jax.Array,
  kernel: ad.UndefinedPrimal,
  *,
  wide: bool,
  **options: int,
) -> jax.Array:
  del wide
  dy = halves.convert(dy, x.dtype)
  gradient = kernel_gradient(x, dy, size=kernel.aval.shape[0], **options)
  return gradient.astype(x.dtype)


ad.defbilinear(_convolution, _transpose_x, _transpose_kernel)


def _differentiate(
  primals: Sequence[jax.Array],
  tangents: Sequence[Any],
  *,
  after: tuple[str, ...],
  activation: str,
  **options: Any,
) -> tuple[jax.Array, jax.Array]:
  y = _fused.bind(*primals, after=after, activation=activation, **options)
  (x, kernel), (dx, dk) = primals[:2], tangents[:2]
  # The gradient of a bias is a sum over all pixels, which would lose its digits
  # in bfloat16.
  parts = [
    jnp.broadcast_to(t.astype(jnp.float32), y.shape).astype(y.dtype)
    for t in tangents[2:]
    if not isinstance(t, ad.Zero)
  ]
  if not isinstance(dx, ad.Zero):
    parts.append(_convolution.bind(dx, kernel, **options))
  if not isinstance(dk, ad.Zero):
    parts.append(_convolution.bind(x, dk, **options))
  dy = sum(parts[1:], start=parts[0])
  if activation == "relu":
    dy = jnp.where(y > 0, dy, 0)
  elif activation == "sigmoid":
    dy = dy * (y * (1 - y))
  return y, dy


ad.primitive_jvps[_fused] = _differentiate


def _by_xla(
  x: jax.Array,
  kernel: jax.Array,
  *terms: jax.Array,
  activation: str = "",
  after: Sequence[str] = (),
  wide: bool = False,
  **options: int,
) -> jax.Array:
  """The same operation, written with XLA's operations."""
  del after
  if wide:
    x, kernel = x.astype(jnp.float32), kernel.astype(jnp.float32)
  y = convolve_by_xla(x, kernel, **options)
  return add_terms(y, *terms, activation=activation)


def _batch(
  primitive: Primitive,
  arguments: Sequence[jax.Array],
  axes: Sequence[int | None],
  **options: Any,
) -> tuple[jax.Array, int]:
  if set(axes[1:]) == {None}:
    # Only x is batched: more images.
    x, *others = arguments
    assert axes[0] is not None
    x = jnp.moveaxis(x, axes[0], 0)
    y = primitive.bind(x.reshape(-1, *x.shape[2:]), *others, **options)
    return y.reshape(*x.shape[:2], *y.shape[1:]), 0
  form = functools.partial(_by_xla, **options)
  return jax.vmap(form, axes)(*arguments), 0


def _config(
  size: int,
  groups: int,
  dilation: int,
  after: Sequence[str],
) -> str:
  """The call's configuration: XLA's OneDnnConvolutionConfig, as JSON.

  Dimensions are counted from 0. A dilation of 1 means none.
  """
  pads = [dilation * (size // 2)] * 2
  image = {"batch_dim": 0, "feature_dim": 3, "spatial_dims": [1, 2]}
  filters = {
    "input_feature_dim": 2,
    "output_feature_dim": 3,
    "spatial_dims": [0, 1],
  }
  config = {
    "dims": 4,
    "input": {"dims": 4, "data": image},
    "kernel": {"dims": 4, "filter": filters},
    "output": {"dims": 4, "data": image},
    "window": {
      "size": [size] * 2,
      "pad_left": pads,
      "pad_right": pads,
      "strides": [1, 1],
      "window_dilations": [dilation] * 2,
    },
    "fusions": {"ops": after},
    "feature_groups": groups,
  }
  return json.dumps({"onednn_conv_config": config})


def _lower_on_cpu(
  context: mlir.LoweringRuleContext,
  *arguments: Any,
  groups: int,
  dilation: int,
  wide: bool,
  after: Sequence[str] = (),
  activation: str = "",
) -> Any:
  del wide  # the output's dtype says it
  after = [*after, *filter(None, [activation.upper()])]
  kernel = context.avals_in[1]
  assert isinstance(kernel, jax.core.ShapedArray)
  call = jax.ffi.ffi_lowering(
    "__onednn$convolution",
    api_version=2,
    backend_config=_config(kernel.shape[0], groups, dilation, after),
  )
  return call(context, *arguments)


for _primitive in (_convolution, _fused):
  batching.primitive_batchers[_primitive] = functools.partial(
    _batch, _primitive
  )
  mlir.register_lowering(_primitive, _lower_on_cpu, platform="cpu")
  mlir.register_lowering(
    _primitive, mlir.lower_fun(_by_xla, multiple_results=False)
  )
