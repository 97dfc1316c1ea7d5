"""The weights that the attentions of a network compute for an image."""

from collections.abc import Iterator
from collections.abc import Mapping
import functools
from typing import Any

from flax import linen as nn
from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from bamjax import forks
from bamjax import pixels

KINDS = ("channel_weights", "spatial_weights", "pixel_weights")


def attention_maps(
  module: nn.Module, variables: Mapping[str, Any], lr: jax.Array | np.ndarray
) -> dict[str, dict[str, jax.Array]]:
  """Runs a network and returns the weights of each of its attentions.

  Args:
    module: a backbone, or any Linen module with attentions of `bamjax.layers`.
    variables: its variables, `{"params": …}`.
    lr: RGB, N×H×W×3 or H×W×3, uint8, uint16 or floating in [0, 1]. For modules
      without an upscaling factor `scale`, their input N×H×W×C. Not processed in
      tiles: all feature maps must fit in memory.

  Returns:
    The weights by the path of the attention's module, such as
    "block_0/attention", in the order of the calls. Each has one or two of

    - `channel_weights`: N×1×1×C;
    - `spatial_weights`: N×h×w×1; BAM and CBAM have both;
    - `pixel_weights`: N×h×w×C;

    in (0, 1), in the dtype of the computation, where h×w is the size of the
    features. The path is "" if `module` is an attention itself. The second
    call of a module has the path "PATH#2". Empty without attentions.

  Raises:
    ValueError: the image has another dtype, or floats are not in [0, 1]
      (`bamjax.pixels` says how far they may overshoot).
  """
  lr = pixels.as_array(lr)
  if isinstance(getattr(module, "scale", None), int):  # a network for images
    pixels.check(lr, integers=pixels.PEAKS)
  forks.check()
  x = jnp.asarray(lr)
  if peak := pixels.PEAKS.get(x.dtype.name):
    x = x.astype(jnp.float32) / peak
  sown = _run(module, variables, x[None] if x.ndim == 3 else x)
  maps: dict[str, dict[str, jax.Array]] = {}
  for (path, kind), array in zip(sown.names, sown.arrays, strict=True):
    maps.setdefault(path, {})[kind] = array
  return maps


@struct.dataclass
class _Sown:
  """Arrays with their paths and kinds.

  Not a dict, which `jit` would return sorted: "block_10" before "block_2".
  """

  names: tuple[tuple[str, str], ...] = struct.field(pytree_node=False)
  arrays: tuple[jax.Array, ...]


@functools.partial(jax.jit, static_argnums=0)
def _run(
  module: nn.Module, variables: Mapping[str, Any], x: jax.Array
) -> _Sown:
  with jax.default_matmul_precision("highest"):
    _, state = module.apply(variables, x, mutable=["intermediates"])
  found = list(_walk(state.get("intermediates", {}), ()))
  names, arrays = zip(*found, strict=True) if found else ((), ())
  return _Sown(names, arrays)


def _walk(
  tree: Mapping[str, Any], path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, str], jax.Array]]:
  """Yields ((path, kind), array) for each array that was sown."""
  for name, value in tree.items():
    if name not in KINDS:
      if hasattr(value, "items"):
        yield from _walk(value, (*path, name))
      continue
    for call, array in enumerate(value, 1):
      yield ("/".join(path) + (f"#{call}" if call > 1 else ""), name), array
