"""Our own weights in a file, with the description of their network.

The header of the safetensors file describes the network (backbone, attention,
scale, input convention, hyper-parameters) and has a model card. Tensors are
named like our parameters, `block_0/conv_1/kernel`.
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
# Dtypes of weights, in safetensors' terms.
_FLOATS = ("F64", "F32", "F16", "BF16")


def save_weights(
  path: str | os.PathLike[str],
  module: nn.Module,
  variables: Mapping[str, Any],
  card: Mapping[str, Any] | None = None,
) -> None:
  """Writes a network's weights to a file, completely or not at all.

  Args:
    path: the file to write; its extension must be .safetensors.
    module: a registered backbone.
    variables: its variables, {"params": …}; written as float32.
    card: what users should know: data, steps, scores, licence. Values must be
      JSON's. `read_card` adds the network's description as `network`.

  Raises:
    UserError: the extension is wrong, the variables are not the module's, a
      weight is NaN or infinite, the card is not JSON, or the file cannot be
      written.
    ValueError: the module is not a registered backbone.
  """
  import safetensors.numpy

  path = Path(path)
  if path.suffix.lower() != ".safetensors":
    raise UserError(f"{path}: the extension must be .safetensors")
  if "params" not in variables:
    raise UserError(f"{path} was not written: the variables have no 'params'")
  network = describe(module)["model"]
  tensors = {
    name: np.ascontiguousarray(leaf, np.float32)
    for name, leaf in traverse_util.flatten_dict(
      variables["params"], sep="/"
    ).items()
  }
  try:
    if odd := _difference(
      _expected(module), {name: leaf.shape for name, leaf in tensors.items()}
    ):
      raise ValueError(f"the variables are not those of this {network}: {odd}")
    check_finite(tensors)
    header = metadata(module, card)
  except ValueError as error:
    raise UserError(f"{path} was not written: {error}") from None
  with replacing(path) as temporary:
    temporary.write_bytes(safetensors.numpy.save(tensors, header))


def metadata(
  module: nn.Module, card: Mapping[str, Any] | None = None
) -> dict[str, str]:
  """What the header of a file says: `format`, and `network` and `card` as JSON.

  Args:
    module: a registered backbone.
    card: see `save_weights`.

  Raises:
    UserError: the card is not JSON.
    ValueError: the module is not a registered backbone.
  """
  try:
    text = json.dumps(dict(card or {}), ensure_ascii=False, allow_nan=False)
  except (TypeError, ValueError, RecursionError) as error:
    raise UserError(f"the card is not JSON: {error}") from None
  network = json.dumps(describe(module))
  return {"format": _FORMAT, "network": network, "card": text}


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
    return {}  # the reader of published files reports the error
  return metadata if metadata.get("format") == _FORMAT else {}


def is_own(path: Path) -> bool:
  """Whether a file was written by `save_weights`, according to its header."""
  return bool(_header(path))


def read_card(path: str | os.PathLike[str]) -> dict[str, Any]:
  """Reads the model card of a file that `save_weights` wrote.

  Args:
    path: the file, or the name of shipped weights, "pan-bam-x2".

  Returns:
    The card, with the description of the network as `network`.

  Raises:
    UserError: the file is missing, or was not written by `save_weights`.
  """
  found = pretrained.find(path)
  if not found.exists():
    raise UserError(f"{found}: no such file")
  header = _header(found)
  return {**_json(found, header, "card"), "network": _network(found, header)}


def _network(path: Path, header: Mapping[str, str]) -> dict[str, Any]:
  return _json(path, header, "network")


def _json(path: Path, header: Mapping[str, str], key: str) -> dict[str, Any]:
  """Reads a header's entry, which must be a JSON object without NaN."""
  if key not in header:
    raise UserError(f"{path}: not written by bamjax: its header has no {key}")

  def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")

  try:
    value = json.loads(header[key], parse_constant=refuse)
    if not isinstance(value, dict):
      raise ValueError(f"a {type(value).__name__}, not an object")
  # RecursionError: objects nested too deeply.
  except (ValueError, RecursionError) as error:
    raise UserError(
      f"{path}: the {key} in its header cannot be read: {error}"
    ) from None
  return value


def load(
  path: Path, hints: Hints = NO_HINTS
) -> tuple[nn.Module, dict[str, Any]]:
  """Reads a file that `save_weights` wrote.

  Args:
    path: the file.
    hints: checked against the description of the network.

  Returns:
    The module, and its variables, {"params": …} of float32 arrays.

  Raises:
    UserError: the file contradicts the hints, is damaged, or was written by an
      incompatible version.
  """
  import safetensors.numpy

  network = _network(path, _header(path))
  try:
    module = build(network)
    found = _shapes(path)
    _check_depth(module, found)
    expected = _expected(module)
    tensors = safetensors.numpy.load_file(path)
    # What overflows float32 becomes infinite, which `check_finite` reports.
    with np.errstate(over="ignore"):
      params = {
        name: tensor.astype(np.float32) for name, tensor in tensors.items()
      }
    check_finite(params)
  # A manipulated header raises nearly anything in Flax.
  except Exception as error:
    reason = " ".join(str(error).split())
    raise UserError(f"{path}: cannot be read: {reason}") from None
  if odd := _difference(expected, found):
    raise UserError(f"{path}: tensors don't match {network['model']}: {odd}")
  if other := mismatch(module, hints):
    raise UserError(f"{path} contains weights of {other}")
  arrays = {name: jnp.asarray(tensor) for name, tensor in params.items()}
  return module, {"params": traverse_util.unflatten_dict(arrays, sep="/")}


def _expected(module: nn.Module) -> dict[str, tuple[int, ...]]:
  """The shapes of a module's parameters by name, without computing them."""
  example = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
  tree = jax.eval_shape(module.init, jax.random.key(0), example)["params"]
  flat = traverse_util.flatten_dict(tree, sep="/")
  return {name: leaf.shape for name, leaf in flat.items()}


def _difference(
  expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> str:
  """The first parameter of other shape, or missing, and how many more."""
  names = sorted({name for name, _ in expected.items() ^ found.items()})
  more = f" and {len(names) - 1} more" if names[1:] else ""
  return f"{names[0]}{more}" if names else ""


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
  """Reads the shapes of a file's tensors, but not their data.

  Raises:
    UserError: a tensor is not of floating-point numbers.
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


def _check_depth(
  module: nn.Module, shapes: Mapping[str, tuple[int, ...]]
) -> None:
  """Compares the described depth with the tensors, before it is built."""
  layers: dict[str, tuple[int, ...]] = {
    name.rpartition("/")[0]: () for name in shapes
  }
  for name, shape in shapes.items():
    layer, _, leaf = name.rpartition("/")
    if leaf == "kernel" and len(shape) == 4:
      layers[layer] = (shape[3], shape[2], *shape[:2])
  inferred = hyperparameters(describe(module)["model"], layers)
  for name in ("blocks", "units", "groups"):
    described, found = getattr(module, name, None), inferred.get(name)
    if None not in (described, found) and described != found:
      raise UserError(
        f"the header says {name}={described}, but the tensors have {found}"
      )
