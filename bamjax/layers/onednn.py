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

from bamjax.layers.kernel_gradient import direct
from bamjax.layers.kernel_gradient import kernel_gradient

# Programs that are traced where this is True hold XLA's operations alone, as
# those that are exported must. It is part of `jax.jit`'s cache key.
portable = jax.make_user_context(False)

_VERSIONS = ((0, 10), (0, 11))


def usable() -> bool:
  """Whether a program that is traced now may convolve by oneDNN.

  Not among several devices, over which XLA could not split the call; nor where
  JAX keeps compiled programs in a folder, since XLA has no way to write this
  one.
  """
  kept = jax.config.jax_compilation_cache_dir
  return (
    not portable.value
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
  options = {"groups": 2, "dilation": 2}
  try:
    with jax.ensure_compile_time_eval():
      got = np.asarray(convolve(x, kernel, **options))
      want = np.asarray(direct(x, kernel, **options))
  except Exception:  # of XLA's, which has no such call
    return False
  return np.allclose(got, want, rtol=1e-4)


def convolve(
  x: jax.Array, kernel: jax.Array, *, groups: int = 1, dilation: int = 1
) -> jax.Array:
  """`direct`, by oneDNN in programs for the CPU."""
  return _convolution.bind(x, kernel, groups=groups, dilation=dilation)


def turned(kernel: jax.Array, groups: int = 1) -> jax.Array:
  """The kernel whose convolution is the transpose, in x, of this one's."""
  k, _, depth, features = kernel.shape
  kernel = kernel[::-1, ::-1].reshape(k, k, depth, groups, features // groups)
  kernel = kernel.transpose(0, 1, 4, 3, 2)
  return kernel.reshape(k, k, features // groups, groups * depth)


_convolution = Primitive("onednn_convolution")


@functools.partial(jax.jit, static_argnames=("groups", "dilation"))
def _eager(x, kernel, *, groups, dilation):
  return _convolution.bind(x, kernel, groups=groups, dilation=dilation)


_convolution.def_impl(_eager)


@_convolution.def_abstract_eval
def _shape(x, kernel, *, groups, dilation):
  del groups, dilation
  return jax.core.ShapedArray((*x.shape[:3], kernel.shape[-1]), x.dtype)


def _transpose_x(dy, x, kernel, *, groups, dilation):
  del x
  return convolve(dy, turned(kernel, groups), groups=groups, dilation=dilation)


def _transpose_kernel(dy, x, kernel, **options):
  return kernel_gradient(x, dy, size=kernel.aval.shape[0], **options)


ad.defbilinear(_convolution, _transpose_x, _transpose_kernel)


def _batch(arguments, axes, **options):
  x, kernel = arguments
  if axes[1] is None:
    # The batch is one more of pictures.
    x = jnp.moveaxis(x, axes[0], 0)
    y = convolve(x.reshape(-1, *x.shape[2:]), kernel, **options)
    return y.reshape(*x.shape[:2], *y.shape[1:]), 0
  return jax.vmap(functools.partial(direct, **options), axes)(x, kernel), 0


batching.primitive_batchers[_convolution] = _batch


def _config(kernel, groups, dilation) -> str:
  """The call's configuration, XLA's message OneDnnConvolutionConfig.

  Of dimensions it names places, all counted from 0; a dilation of 1 is none.
  """
  size = kernel.shape[0]
  pads = [dilation * (size // 2)] * 2
  picture = {"batch_dim": 0, "feature_dim": 3, "spatial_dims": [1, 2]}
  filters = {
    "input_feature_dim": 2,
    "output_feature_dim": 3,
    "spatial_dims": [0, 1],
  }
  config = {
    "dims": 4,
    "input": {"dims": 4, "data": picture},
    "kernel": {"dims": 4, "filter": filters},
    "output": {"dims": 4, "data": picture},
    "window": {
      "size": [size] * 2,
      "pad_left": pads,
      "pad_right": pads,
      "strides": [1, 1],
      "window_dilations": [dilation] * 2,
    },
    "feature_groups": groups,
  }
  return json.dumps({"onednn_conv_config": config})


def _lower_on_cpu(context, x, kernel, *, groups, dilation):
  call = jax.ffi.ffi_lowering(
    "__onednn$convolution",
    api_version=2,
    backend_config=_config(context.avals_in[1], groups, dilation),
  )
  return call(context, x, kernel)


mlir.register_lowering(_convolution, _lower_on_cpu, platform="cpu")
mlir.register_lowering(
  _convolution, mlir.lower_fun(direct, multiple_results=False)
)
