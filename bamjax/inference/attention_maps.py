"""What the attentions of a network weigh, for an image."""

from collections.abc import Iterator
import functools
from typing import Any

from flax import linen as nn
from flax import struct
import jax
import jax.numpy as jnp

KINDS = ("channel_weights", "spatial_weights", "pixel_weights")


def attention_maps(
  module: nn.Module, variables: Any, lr: jax.Array
) -> dict[str, dict[str, jax.Array]]:
  """Runs a network and returns the weights of each of its attentions.

  Args:
    module: a backbone, or any Linen module with attentions of `bamjax.layers`.
    variables: its variables, `{"params": …}`.
    lr: N×H×W×3 or H×W×3, uint8, or float RGB in [0, 1]; of another module, its
      input N×H×W×C. All of it is in memory at once: it is not done in tiles.

  Returns:
    By the path of the attention's module, "block_0/attention" ("" where the
    module is one itself), in the order of their calls, what it multiplies its
    features with: `channel_weights` (N×1×1×C), `spatial_weights` (N×h×w×1),
    both in BAM and CBAM, or `pixel_weights` (N×h×w×C); in (0, 1), in the dtype
    of the computation. h×w is the size of the features there. A module that is
    called again adds "PATH#2". Empty where there is no attention.
  """
  x = jnp.asarray(lr)
  if x.dtype == jnp.uint8:
    x = x.astype(jnp.float32) / 255
  sown = _run(module, variables, x[None] if x.ndim == 3 else x)
  maps = {}
  for (path, kind), array in zip(sown.names, sown.arrays, strict=True):
    maps.setdefault(path, {})[kind] = array
  return maps


@struct.dataclass
class _Sown:
  """Arrays, and their paths and kinds, which are no data to JAX.

  A dict would come out of `jit` sorted: "block_10" before "block_2".
  """

  names: tuple[tuple[str, str], ...] = struct.field(pytree_node=False)
  arrays: tuple[jax.Array, ...]


@functools.partial(jax.jit, static_argnums=0)
def _run(module: nn.Module, variables: Any, x: jax.Array) -> _Sown:
  with jax.default_matmul_precision("highest"):
    _, state = module.apply(variables, x, mutable=["intermediates"])
  found = list(_walk(state.get("intermediates", {}), ()))
  names, arrays = zip(*found, strict=True) if found else ((), ())
  return _Sown(names, arrays)


def _walk(tree: Any, path: tuple[str, ...]) -> Iterator:
  """((path, kind), array) of each that was sown."""
  for name, value in tree.items():
    if name not in KINDS:
      if hasattr(value, "items"):
        yield from _walk(value, (*path, name))
      continue
    for call, array in enumerate(value, 1):
      yield ("/".join(path) + (f"#{call}" if call > 1 else ""), name), array
