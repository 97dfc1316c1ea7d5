"""Our own weights in a file, with the network that they belong to.

A safetensors file whose header tells the backbone, its attention, its scale,
its input convention and its hyper-parameters, and a model card. Tensors have
our parameters' names, `block_0/conv_1/kernel`.
"""

from collections.abc import Mapping
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from flax import linen as nn
from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from bamjax.errors import UserError
from bamjax.files import replacing
from bamjax.layers import Attention
from bamjax.layers import Normalization
from bamjax.models.registry import backbone
from bamjax.models.registry import identify

_FORMAT = "bamjax"
# Told apart from hyper-parameters, or no matter of the weights.
_APART = (
  *("parent", "name", "scale", "attention", "normalization"),
  *("dtype", "remat"),
)


def describe(module: nn.Module) -> dict[str, Any]:
  """A network as JSON can tell it; `build` makes the same one again.

  Raises:
    ValueError: the module is not of a registered backbone.
  """
  model, attn = identify(module)
  return {
    "model": model,
    "attn": attn,
    "reduction": module.attention.reduction,
    "scale": module.scale,
    "normalization": dataclasses.asdict(module.normalization),
    "options": {
      field.name: getattr(module, field.name)
      for field in dataclasses.fields(module)
      if field.name not in _APART
    },
  }


def build(description: Mapping[str, Any]) -> nn.Module:
  """The network that `describe` has told."""
  options = {
    key: tuple(value) if isinstance(value, list) else value
    for key, value in description["options"].items()
  }
  return backbone(description["model"]).module(
    scale=description["scale"],
    attention=Attention(description["attn"], description["reduction"]),
    normalization=Normalization(**description["normalization"]),
    **options,
  )


def save_weights(
  path: str | os.PathLike,
  module: nn.Module,
  variables: Mapping[str, Any],
  card: Mapping[str, Any] | None = None,
) -> None:
  """Writes a network's weights, whole or not at all.

  Args:
    path: of the file, .safetensors.
    module: a registered backbone.
    variables: its variables, {"params": …}; written as float32.
    card: what a user should know: data, steps, scores, licence. Values are
      what JSON knows.

  Raises:
    UserError: the extension is another, or the file cannot be written.
    ValueError: the module is not of a registered backbone.
  """
  import safetensors.numpy

  path = Path(path)
  if path.suffix != ".safetensors":
    raise UserError(f"{path}: weights are written to a .safetensors file")
  tensors = {
    name: np.ascontiguousarray(leaf, np.float32)
    for name, leaf in traverse_util.flatten_dict(
      variables["params"], sep="/"
    ).items()
  }
  metadata = {
    "format": _FORMAT,
    "network": json.dumps(describe(module)),
    "card": json.dumps(dict(card or {}), ensure_ascii=False),
  }
  with replacing(path) as temporary:
    temporary.write_bytes(safetensors.numpy.save(tensors, metadata))


def _header(path: Path) -> dict[str, str]:
  """The metadata of one of our files; empty for any other file."""
  if path.suffix != ".safetensors" or not path.is_file():
    return {}
  from safetensors import safe_open
  from safetensors import SafetensorError

  try:
    with safe_open(path, "numpy") as file:
      metadata = file.metadata() or {}
  except (OSError, SafetensorError):
    return {}  # which the reader of published files will tell
  return metadata if metadata.get("format") == _FORMAT else {}


def is_own(path: Path) -> bool:
  """Whether a file is one of `save_weights`, by its header."""
  return bool(_header(path))


def read_card(path: str | os.PathLike) -> dict[str, Any]:
  """The model card of a file of `save_weights`, with its `network`.

  Raises:
    UserError: the file is another.
  """
  header = _header(Path(path))
  try:
    return {
      "network": json.loads(header["network"]),
      **json.loads(header["card"]),
    }
  except (KeyError, ValueError):
    raise UserError(f"{path}: no weights of bamjax") from None


def load(
  path: Path,
  *,
  model: str | None = None,
  attn: str | None = None,
  scale: int | None = None,
  normalization: str | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
  """Reads a file of `save_weights`.

  What is given must be what the file says.

  Returns:
    The module, and its variables, {"params": …} of float32 arrays.

  Raises:
    UserError: it is not so, or the file is damaged or of another version.
  """
  import safetensors.numpy

  network = read_card(path)["network"]
  try:
    module = build(network)
    example = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    tree = jax.eval_shape(module.init, jax.random.key(0), example)["params"]
    tensors = safetensors.numpy.load_file(path)
  # A header of another version, or of a backbone that is not here.
  except (KeyError, TypeError, ValueError, OSError) as error:
    reason = " ".join(str(error).split())
    raise UserError(f"{path}: cannot be read: {reason}") from None
  shapes = {
    name: leaf.shape
    for name, leaf in traverse_util.flatten_dict(tree, sep="/").items()
  }
  found = {name: tensor.shape for name, tensor in tensors.items()}
  if odd := sorted(set(shapes.items()) ^ set(found.items())):
    raise UserError(
      f"{path}: tensors don't fit {network['model']}: {odd[0][0]}"
      f"{f' and {len(odd) - 1} more' if odd[1:] else ''}"
    )
  own = backbone(network["model"])
  wanted = own.native if attn == "native" else attn
  for name, given in (("model", model), ("attn", wanted), ("scale", scale)):
    if given not in (None, network[name]):
      raise UserError(
        f"{path} holds weights of {name} {network[name]}, not {given}"
      )
  form = own.normalizations.get(normalization)
  if normalization is not None and form != module.normalization:
    raise UserError(
      f"{path} holds weights of another normalization than {normalization}"
    )
  params = {name: jnp.asarray(tensor) for name, tensor in tensors.items()}
  return module, {"params": traverse_util.unflatten_dict(params, sep="/")}
