"""Compiled programs of a process, of which the last used are kept.

A program holds megabytes, and JAX would keep those of all sizes that it ever
met.
"""

import collections
from collections.abc import Callable
import functools
import threading
from typing import Any

from flax import linen as nn
import jax

# Programs that are kept: 7 MB each for PAN-BAM on a CPU.
KEPT = 64

_programs: collections.OrderedDict[Any, Callable[..., Any]] = (
  collections.OrderedDict()
)
_lock = threading.Lock()


def run(
  function: Callable[..., Any], module: nn.Module, weights: Any, *args: Any
) -> Any:
  """Calls `function(module, weights, *args)`, compiled.

  Args:
    function: one that JAX can trace.
    module: its network, which becomes part of the program.
    weights: the network's variables.
    *args: arrays. For each of their shapes there is one program.
  """
  leaves, tree = jax.tree.flatten(args)
  key = function, module, tree, tuple((x.shape, x.dtype) for x in leaves)
  with _lock:
    # A function of its own, with which JAX forgets the program.
    program = _programs.pop(key, None) or jax.jit(
      functools.partial(function, module)
    )
    _programs[key] = program
    while len(_programs) > KEPT:
      _programs.popitem(last=False)
  return program(weights, *args)


def clear() -> None:
  """Releases all programs."""
  with _lock:
    _programs.clear()
