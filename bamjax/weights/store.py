"""Our own weights in a file, with the network that they belong to.

A safetensors file whose header tells the backbone, its attention, its scale,
its input convention and its hyper-parameters, and a model card. Tensors have
our parameters' names, `block_0/conv_1/kernel`.
"""

from collections.abc import Mapping
import json
import os
from pathlib import Path
from typing import Any

from flax import linen as nn
from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from bamjax import pretrained
from bamjax.errors import UserError
from bamjax.files import replacing
from bamjax.weights.descriptions import build
from bamjax.weights.descriptions import describe
from bamjax.weights.hints import Hints
from bamjax.weights.hints import mismatch
from bamjax.weights.hints import NO_HINTS
from bamjax.weights.reading import check_finite
from bamjax.weights.recognise import hyperparameters

_FORMAT = "bamjax"
# Of tensors, as safetensors names them.
_FLOATS = ("F64", "F32", "F16", "BF16")


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
      what JSON knows. `network` is the network's own name in it.

  Raises:
    UserError: the extension is another, a weight is NaN or infinite, the card
      holds what JSON does not know, or the file cannot be written.
    ValueError: the module is not of a registered backbone.
  """
  import safetensors.numpy

  path = Path(path)
  if path.suffix.lower() != ".safetensors":
    raise UserError(f"{path}: weights are written to a .safetensors file")
  tensors = {
    name: np.ascontiguousarray(leaf, np.float32)
    for name, leaf in traverse_util.flatten_dict(
      variables["params"], sep="/"
    ).items()
  }
  try:
    check_finite(tensors)
    told = json.dumps(dict(card or {}), ensure_ascii=False, allow_nan=False)
  except (TypeError, ValueError, RecursionError) as error:
    raise UserError(f"{path} is not written: {error}") from None
  metadata = {
    "format": _FORMAT,
    "network": json.dumps(describe(module)),
    "card": told,
  }
  with replacing(path) as temporary:
    temporary.write_bytes(safetensors.numpy.save(tensors, metadata))


def _header(path: Path) -> dict[str, str]:
  """The metadata of one of our files; empty for any other file."""
  if not path.is_file():
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

  Args:
    path: of the file, or the name of shipped weights, "pan-bam-x2".

  Raises:
    UserError: there is no such file, or it is another.
  """
  found = pretrained.find(path)
  if not found.exists():
    raise UserError(f"{found}: no such file")
  header = _header(found)
  return {**_json(found, header, "card"), "network": _network(found, header)}


def _network(path: Path, header: Mapping[str, str]) -> dict[str, Any]:
  return _json(path, header, "network")


def _json(path: Path, header: Mapping[str, str], key: str) -> dict[str, Any]:
  """What an entry of a header tells; NaN and infinity are no JSON."""
  if key not in header:
    raise UserError(f"{path}: no weights of bamjax; its header has no {key}")

  def refuse(constant):
    raise ValueError(f"{constant} is no JSON")

  try:
    value = json.loads(header[key], parse_constant=refuse)
    if not isinstance(value, dict):
      raise ValueError(f"a {type(value).__name__}, not an object")
  # The last of objects that stand too deep inside each other.
  except (ValueError, RecursionError) as error:
    raise UserError(
      f"{path}: the {key} in its header cannot be read: {error}"
    ) from None
  return value


def load(
  path: Path, hints: Hints = NO_HINTS
) -> tuple[nn.Module, dict[str, Any]]:
  """Reads a file of `save_weights`.

  Args:
    path: the file.
    hints: checked against the network that the file describes.

  Returns:
    The module, and its variables, {"params": …} of float32 arrays.

  Raises:
    UserError: the file contradicts the hints, is damaged or is of another
      version.
  """
  import safetensors.numpy

  network = _network(path, _header(path))
  try:
    module = build(network)
    found = _shapes(path)
    _check_depth(module, found)
    example = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    tree = jax.eval_shape(module.init, jax.random.key(0), example)["params"]
    tensors = safetensors.numpy.load_file(path)
    # Beyond float32's range is infinite, which is refused.
    with np.errstate(over="ignore"):
      params = {name: np.float32(tensor) for name, tensor in tensors.items()}
    check_finite(params)
  # A header that was tampered with raises nearly anything in Flax.
  except Exception as error:
    reason = " ".join(str(error).split())
    raise UserError(f"{path}: cannot be read: {reason}") from None
  shapes = {
    name: leaf.shape
    for name, leaf in traverse_util.flatten_dict(tree, sep="/").items()
  }
  if odd := sorted(set(shapes.items()) ^ set(found.items())):
    raise UserError(
      f"{path}: tensors don't fit {network['model']}: {odd[0][0]}"
      f"{f' and {len(odd) - 1} more' if odd[1:] else ''}"
    )
  if other := mismatch(module, hints):
    raise UserError(f"{path} holds weights of {other}")
  params = {name: jnp.asarray(tensor) for name, tensor in params.items()}
  return module, {"params": traverse_util.unflatten_dict(params, sep="/")}


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
  """Shapes of a file's tensors; none of them is read.

  Raises:
    UserError: they are of another dtype than weights have.
  """
  from safetensors import safe_open

  shapes = {}
  with safe_open(path, "numpy") as file:
    for name in file.keys():
      tensor = file.get_slice(name)
      shapes[name] = tuple(tensor.get_shape())
      if (dtype := tensor.get_dtype()) not in _FLOATS:
        raise UserError(f"{name} holds {dtype}, not floating-point numbers")
  return shapes


def _check_depth(module: nn.Module, shapes: Mapping[str, tuple]) -> None:
  """Compares the depth that is told with the tensors, before it is built."""
  layers = {name.rpartition("/")[0]: () for name in shapes}
  for name, shape in shapes.items():
    layer, _, leaf = name.rpartition("/")
    if leaf == "kernel" and len(shape) == 4:
      layers[layer] = (shape[3], shape[2], *shape[:2])
  read = hyperparameters(describe(module)["model"], layers)
  for name in ("blocks", "units", "groups"):
    told, found = getattr(module, name, None), read.get(name)
    if None not in (told, found) and told != found:
      raise UserError(f"{name} is {told}, and its tensors are of {found}")
