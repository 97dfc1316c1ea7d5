"""oneDNN's convolution, which jaxlib's CPU client holds and XLA doesn't choose.

XLA's compiler for the CPU turns a custom call `__onednn$convolution` into a
call of the oneDNN that is linked into jaxlib for x86 Linux: PyTorch's
convolution, at one to two times the rate of XLA's own, and no longer to compile
(docs/performance.md). Nothing documents it, so that it is tried before it is
used (`usable`), and on versions of jaxlib alone that it was tested on.
"""

import functools
import json

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad
from jax.interpreters import batching
from jax.interpreters import mlir
import jax.numpy as jnp
import jaxlib
import numpy as np

from bamjax.layers import purpose
from bamjax.layers.cpu.kernel_gradient import kernel_gradient
from bamjax.layers.xla import direct
from bamjax.layers.xla import finish

_VERSIONS = ((0, 10), (0, 11), (0, 12))


def usable() -> bool:
  """Whether a program that is traced now may convolve by oneDNN.

  Not among several devices, over which XLA could not split the call; nor where
  JAX keeps compiled programs in a folder, since XLA has no way to write this
  one.
  """
  kept = jax.config.jax_compilation_cache_dir
  return (
    not purpose.is_portable()
    and not (kept and jax.config.jax_enable_compilation_cache)
    and jax.default_backend() == "cpu"
    and jax.device_count() == 1
    and works()
  )


@functools.cache
def works() -> bool:
  """Whether this jaxlib has oneDNN's convolution, tried on a small one."""
  if jaxlib.version.__version_info__[:2] not in _VERSIONS:
    return False
  rng = np.random.default_rng(0)
  x = rng.random((2, 7, 9, 16), np.float32)
  kernel = rng.random((3, 3, 8, 32), np.float32)
  terms = (rng.random(32, np.float32), -9 * rng.random((2, 7, 9, 32)))
  terms = tuple(np.float32(term) for term in terms)
  options = {"groups": 2, "dilation": 2, "relu": True}
  try:
    with jax.ensure_compile_time_eval():
      got = np.asarray(convolve(x, kernel, *terms, **options))
      by_xla = jax.jit(functools.partial(_composed, **options))
      want = np.asarray(by_xla(x, kernel, *terms))
  except Exception:  # of XLA's, which has no such call
    return False
  return np.allclose(got, want, rtol=1e-4, atol=1e-4)


def convolve(
  x: jax.Array,
  kernel: jax.Array,
  bias: jax.Array | None = None,
  add: jax.Array | None = None,
  *,
  relu: bool = False,
  groups: int = 1,
  dilation: int = 1,
) -> jax.Array:
  """`convolution.convolve`, float32, by oneDNN in programs for the CPU."""
  options = {"groups": groups, "dilation": dilation}
  if bias is None and add is None and not relu:
    return _convolution.bind(x, kernel, **options)
  # Names that XLA has for what oneDNN does after the sums.
  terms = {"BIAS": bias, "BINARY_ADD": add}
  terms = {name: term for name, term in terms.items() if term is not None}
  return _fused.bind(
    x, kernel, *terms.values(), after=tuple(terms), relu=relu, **options
  )


def turned(kernel: jax.Array, groups: int = 1) -> jax.Array:
  """The kernel whose convolution is the transpose, in x, of this one's."""
  k, _, depth, features = kernel.shape
  kernel = kernel[::-1, ::-1].reshape(k, k, depth, groups, features // groups)
  kernel = kernel.transpose(0, 1, 4, 3, 2)
  return kernel.reshape(k, k, features // groups, groups * depth)


def _shape(x, kernel, *terms, after=(), **_):
  """The output's; oneDNN would take arrays that don't fit for what they aren't.

  Raises:
    TypeError: an array doesn't fit.
  """
  shape = (*x.shape[:3], kernel.shape[-1])
  for array in (x, kernel, *terms):
    if array.dtype != jnp.float32:
      raise TypeError(f"oneDNN convolves float32 here, not {array.dtype}")
  for name, term in zip(after, terms, strict=True):
    if term.shape != (shape[-1:] if name == "BIAS" else shape):
      raise TypeError(f"{term.shape} cannot be added to {shape}")
  return jax.core.ShapedArray(shape, x.dtype)


def _define(name: str) -> Primitive:
  """An operation with the shape of a convolution."""
  primitive = Primitive(name)
  primitive.def_abstract_eval(_shape)

  @functools.partial(jax.jit, static_argnums=0)
  def run(options, *arguments):
    return primitive.bind(*arguments, **dict(options))

  def compiled(*arguments, **options):
    # XLA alone can run it, also where nothing else is to be compiled.
    with jax.disable_jit(False):
      return run(tuple(options.items()), *arguments)

  primitive.def_impl(compiled)
  return primitive


# Linear in each of x and kernel.
_convolution = _define("onednn_convolution")
# The same with what comes after it.
_fused = _define("onednn_fused_convolution")


def _transpose_x(dy, x, kernel, *, groups, dilation):
  del x
  return convolve(dy, turned(kernel, groups), groups=groups, dilation=dilation)


def _transpose_kernel(dy, x, kernel, **options):
  return kernel_gradient(x, dy, size=kernel.aval.shape[0], **options)


ad.defbilinear(_convolution, _transpose_x, _transpose_kernel)


def _differentiate(primals, tangents, *, after, relu, **options):
  y = _fused.bind(*primals, after=after, relu=relu, **options)
  (x, kernel), (dx, dk) = primals[:2], tangents[:2]
  parts = [t for t in tangents[2:] if not isinstance(t, ad.Zero)]
  if not isinstance(dx, ad.Zero):
    parts.append(convolve(dx, kernel, **options))
  if not isinstance(dk, ad.Zero):
    parts.append(convolve(x, dk, **options))
  dy = jnp.broadcast_to(sum(parts), y.shape)
  return y, jnp.where(y > 0, dy, 0) if relu else dy


ad.primitive_jvps[_fused] = _differentiate


def _composed(x, kernel, *terms, relu=False, after=(), **options):
  """By XLA's operations alone."""
  del after
  return finish(direct(x, kernel, **options), *terms, relu=relu)


def _batch(primitive, arguments, axes, **options):
  if set(axes[1:]) == {None}:
    # The batch is one more of images.
    x, *others = arguments
    x = jnp.moveaxis(x, axes[0], 0)
    y = primitive.bind(x.reshape(-1, *x.shape[2:]), *others, **options)
    return y.reshape(*x.shape[:2], *y.shape[1:]), 0
  form = functools.partial(_composed, **options)
  return jax.vmap(form, axes)(*arguments), 0


def _config(kernel, groups, dilation, after) -> str:
  """The call's configuration, XLA's message OneDnnConvolutionConfig.

  Of dimensions it names places, all counted from 0; a dilation of 1 is none.
  """
  size = kernel.shape[0]
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
  context, x, kernel, *terms, groups, dilation, after=(), relu=False
):
  after = [*after, *["RELU"] * relu]
  call = jax.ffi.ffi_lowering(
    "__onednn$convolution",
    api_version=2,
    backend_config=_config(context.avals_in[1], groups, dilation, after),
  )
  return call(context, x, kernel, *terms)


for _primitive in (_convolution, _fused):
  batching.primitive_batchers[_primitive] = functools.partial(
    _batch, _primitive
  )
  mlir.register_lowering(_primitive, _lower_on_cpu, platform="cpu")
  mlir.register_lowering(
    _primitive, mlir.lower_fun(_composed, multiple_results=False)
  )
