"""Networks as CUDA graphs: one launch per frame instead of a hundred.

XLA launches each kernel of a program by itself, which takes the host longer
than a small frame takes the GPU. By default it joins some kernels to graphs,
but not convolutions.
"""

import collections
from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import functools
import logging
from typing import Any

import jax
import jax.extend
import numpy as np

from bamjax.inference import programs

_logger = logging.getLogger(__name__)

_OPTIONS: dict[str, str | bool] = {
  "xla_gpu_enable_command_buffer": (
    "FUSION,CUBLAS,CUBLASLT,CUDNN,CUSTOM_CALL,CONVOLUTION"
  ),
  "xla_gpu_graph_min_graph_size": "1",
  # JAX's cache on disk also keeps which algorithms were fastest. A convolution
  # that no one tried in this process then runs for the first time while it is
  # recorded, when CUDA can't load kernels: the likely cause of cuDNN's status
  # 5003, seen once in some 60 programs, in the one process that found a cache.
  "xla_gpu_per_fusion_autotune_cache_dir": "",
}
# Bytes of weights up to which they become constants of the program, so that XLA
# transposes kernels when it compiles and not in every frame. The program holds
# them a second time.
_CONSTANT = 2**25
# Calls with the same shapes after which a graph pays: compiling it takes one to
# three seconds, and saves up to half a millisecond per call.
_CALLS = 1000


def usable() -> bool:
  """Whether JAX runs on an NVIDIA GPU by default."""
  return (
    jax.default_backend() == "gpu"
    and "cuda" in jax.extend.backend.get_backend().platform_version.lower()
  )


def compile_often(
  function: Callable[..., Any], weights: Any, *args: Any
) -> tuple[jax.stages.Compiled, Callable[..., Any]]:
  """Compiles a function for many calls with the same weights and shapes.

  On an NVIDIA GPU it becomes a graph, or there is a warning.

  Args:
    function: called as `function(weights, *args)`.
    weights: its weights, which stay the same.
    *args: arrays to run it on once.

  Returns:
    The compiled program, and a function that runs it on args.
  """
  if usable():
    try:
      return _compile_graph(function, weights, *args)
    except jax.errors.JaxRuntimeError as error:
      _logger.warning("no CUDA graphs, which only costs speed: %s", error)
  compiled = jax.jit(function).lower(weights, *args).compile()
  return compiled, functools.partial(compiled, weights)


def _compile_graph(
  function: Callable[..., Any], weights: Any, *args: Any
) -> tuple[jax.stages.Compiled, Callable[..., Any]]:
  """Compiles a function to a graph, and runs it once to see that it does."""
  constant = sum(x.nbytes for x in jax.tree.leaves(weights)) <= _CONSTANT
  if constant:
    values = jax.tree.map(np.asarray, weights)
    lowered = jax.jit(lambda *args: function(values, *args)).lower(*args)
  else:
    lowered = jax.jit(function).lower(weights, *args)
  with _uncached():
    compiled = lowered.compile(compiler_options=_OPTIONS)
  run = compiled if constant else functools.partial(compiled, weights)
  jax.block_until_ready(run(*args))
  return compiled, run


class Repeated:
  """Runs a function of weights, as a CUDA graph where it is called often."""

  def __init__(self, function: Callable[..., Any], weights: Any):
    """Makes the function `(*args) -> function(weights, *args)`."""
    self._function = function
    self._weights = weights
    self._calls: collections.Counter[Any] = collections.Counter()
    self._graphs: dict[Any, Callable[..., Any]] = {}
    self._usable = usable()

  def __call__(self, *args: Any) -> Any:
    """Runs the function on arrays."""
    if not self._usable:
      return self._function(self._weights, *args)
    leaves, tree = jax.tree.flatten(args)
    shapes = tree, tuple((x.shape, x.dtype) for x in leaves)
    if graph := self._graphs.get(shapes):
      return graph(*args)
    self._calls[shapes] += 1
    if self._calls[shapes] < _CALLS:
      return self._function(self._weights, *args)
    try:
      _, graph = _compile_graph(self._function, self._weights, *args)
    except jax.errors.JaxRuntimeError as error:
      self._usable = False
      _logger.warning("no CUDA graphs, which only costs speed: %s", error)
      return self._function(self._weights, *args)
    self._graphs[shapes] = graph
    while len(self._graphs) > programs.KEPT:
      self._graphs.pop(next(iter(self._graphs)), None)
    return graph(*args)


@contextlib.contextmanager
def _uncached() -> Iterator[None]:
  """Keeps programs out of JAX's cache on disk, for the same reason."""
  name = "jax_persistent_cache_min_compile_time_secs"
  before = jax.config.values[name]
  jax.config.update(name, 1e9)
  try:
    yield
  finally:
    jax.config.update(name, before)
