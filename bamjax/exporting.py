"""Exports networks for use elsewhere: safetensors, StableHLO, ONNX.

Exported programs map RGB in [0, 1], N×H×W×3 float32, to N×sH×sW×3 float32,
unclipped, for any N, H and W.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
from importlib.metadata import version
import logging
import os
from pathlib import Path
import threading
from typing import Any
import warnings

from flax import linen as nn
import jax
from jax import export as jax_export
import jax.numpy as jnp
from jax.typing import ArrayLike
import numpy as np

from bamjax import pixels
from bamjax import pretrained
from bamjax.errors import require
from bamjax.errors import UserError
from bamjax.files import refuse_overwriting
from bamjax.files import replacing
from bamjax.layers import compile_for
from bamjax.layers.purpose import Purpose
from bamjax.networks import Network
from bamjax.weights import save_weights
from bamjax.weights import store

_logger = logging.getLogger(__name__)

ONNX_PACKAGES = ("jax2onnx", "onnx", "onnxruntime")
_FILTERING = threading.Lock()  # of `warnings.filters`
_PLATFORMS = ("cpu", "cuda", "tpu")


def _function(
  module: nn.Module, variables: Mapping[str, Any], purpose: Purpose
) -> Callable[[ArrayLike], Any]:
  def super_resolve(lr: ArrayLike) -> Any:
    # As in `Upscaler`: TF32 would change the output.
    with jax.default_matmul_precision("highest"), compile_for(purpose):
      return module.apply(variables, lr)

  return super_resolve


def to_safetensors(
  network: Network,
  path: str | os.PathLike[str],
  card: Mapping[str, Any] | None = None,
) -> None:
  """Writes weights and a model card, for `bamjax.load_weights`.

  The card is that of the weights' file, if it has one, updated with the source
  and the step of the weights, and with the teacher that a run had.

  Args:
    network: the network to export.
    path: the file to write.
    card: entries to add to the card, or to replace.

  Raises:
    UserError: the file cannot be written.
  """
  save_weights(path, network.module, network.variables, _card(network, card))


def _card(network: Network, card: Mapping[str, Any] | None) -> dict[str, Any]:
  entries = _source_card(network) | {"source": network.source}
  if network.step is not None:
    entries["step"] = network.step
  if network.config and network.config.teacher.source:
    teacher = dataclasses.asdict(network.config.teacher)
    name = Path(teacher.pop("source")).name
    lr_only = network.config.data.lr_only
    entries["teacher"] = {"name": name, **teacher, "lr_only": lr_only}
  return entries | dict(card or {})


def _source_card(network: Network) -> dict[str, Any]:
  """The card of the file that a network was loaded from, or an empty one."""
  path = pretrained.find(network.source)
  if not store.is_own(path):
    return {}
  try:
    card = store.read_card(path)
  except UserError as error:
    # The weights can be used without it.
    _logger.warning("%s; it is left out", error)
    return {}
  del card["network"]  # `save_weights` writes its own description
  return card


def to_stablehlo(network: Network, path: str | os.PathLike[str]) -> None:
  """Writes a serialized `jax.export` program for CPU, CUDA and TPU.

  Args:
    network: the network to export.
    path: the file to write.

  Raises:
    UserError: the file cannot be written, or flatbuffers is missing.
  """
  require("StableHLO", "flatbuffers")
  n, height, width = jax_export.symbolic_shape("n, h, w")
  lr = jax.ShapeDtypeStruct((n, height, width, 3), jnp.float32)
  function = jax.jit(_function(network.module, network.variables, "export"))
  exported = jax_export.export(function, platforms=_PLATFORMS)(lr)
  with replacing(Path(path)) as temporary:
    temporary.write_bytes(exported.serialize())


def load_stablehlo(path: str | Path) -> Callable[[Any], jax.Array]:
  """Reads a program that `to_stablehlo` wrote.

  Args:
    path: the file to read.

  Returns:
    The function: RGB in [0, 1], N×H×W×3, to float32, N×sH×sW×3, unclipped.
    It raises ValueError for integers, and for floats that are not in [0, 1]
    (`bamjax.pixels` says how far they may overshoot).

  Raises:
    UserError: the file cannot be read, or is not such a program, or flatbuffers
      is missing.
  """
  require("StableHLO", "flatbuffers")
  try:
    exported = jax_export.deserialize(bytearray(Path(path).read_bytes()))
  except OSError as error:
    raise UserError(f"{path}: cannot be read: {error.strerror}") from None
  # Damaged bytes raise nearly anything in flatbuffers.
  except Exception as error:
    raise UserError(
      f"{path}: not a program of jax.export, or damaged ({error})"
    ) from None

  def super_resolve(lr: ArrayLike) -> jax.Array:
    lr = pixels.as_array(lr)
    pixels.check(lr, "RGB", ())
    return exported.call(jnp.asarray(lr, jnp.float32))

  return super_resolve


def to_onnx(
  network: Network,
  path: str | os.PathLike[str],
  card: Mapping[str, Any] | None = None,
) -> None:
  """Writes an ONNX model with input `lr` and output `sr`, using jax2onnx.

  Its `metadata_props` have the network's description and the model card, as
  JSON, under the same keys as a file of `to_safetensors`.

  Before it is written, the model is run with ONNX Runtime and its output
  compared with the network's.

  Args:
    network: the network to export.
    path: the file to write.
    card: entries to add to the card, or to replace.

  Raises:
    UserError: jax2onnx or ONNX Runtime is not installed, the network can't be
      converted, the outputs differ, or the file cannot be written.
  """
  require("ONNX export", *ONNX_PACKAGES, extra="onnx")
  import jax2onnx
  import onnx
  import onnxruntime

  try:
    metadata = store.metadata(network.module, _card(network, card))
  except UserError as error:
    raise UserError(f"{path} was not written: {error}") from None
  function = _function(network.module, network.variables, "onnx")
  converter = f"jax2onnx {version('jax2onnx')}"
  try:
    # One thread at a time: another would restore the filters too early or late.
    with _FILTERING, warnings.catch_warnings():
      # It requests float64 internally.
      warnings.simplefilter("ignore")
      model = jax2onnx.to_onnx(
        function,
        [("N", "H", "W", 3)],
        model_name=network.model,
        input_names=["lr"],
        output_names=["sr"],
      )
  # Operations that ONNX lacks raise nearly anything.
  except Exception as error:
    raise UserError(
      f"{converter} can't convert this network ({error!r})"
    ) from None
  for key, value in metadata.items():
    model.metadata_props.add(key=key, value=value)
  data = model.SerializeToString()
  onnx.checker.check_model(model)
  session = onnxruntime.InferenceSession(data)
  rng = np.random.default_rng(0)
  for shape in ((1, 24, 20, 3), (2, 17, 31, 3)):
    lr = rng.random(shape, dtype=np.float32)
    (sr,) = session.run(None, {"lr": lr})
    off = np.abs(sr - np.asarray(function(lr))).max()
    if off > 1e-4:
      raise UserError(
        f"the ONNX model's output is off by {off:.1e}: {converter} can't"
        f" convert this network correctly; {path} was not written"
      )
  with replacing(Path(path)) as temporary:
    temporary.write_bytes(data)


# Extensions, and what writes the files.
FORMATS: dict[str, tuple[str, Callable[..., None]]] = {
  "safetensors": (".safetensors", to_safetensors),
  "stablehlo": (".stablehlo", to_stablehlo),
  "onnx": (".onnx", to_onnx),
}


def format_of(path: Path, form: str | None = None) -> str:
  """The format of a file to write: `form`, or what its extension says.

  Raises:
    UserError: it is none of `FORMATS`.
  """
  if form is None:
    by_suffix = {suffix: name for name, (suffix, _) in FORMATS.items()}
    form = by_suffix.get(path.suffix.lower())
  if form not in FORMATS:
    raise UserError(f"{path}: unknown format; use --format={'|'.join(FORMATS)}")
  return form


def write(
  network: Network,
  path: str | os.PathLike[str],
  form: str | None = None,
  card: Mapping[str, Any] | None = None,
) -> None:
  """Exports a network.

  Args:
    network: the network to export.
    path: the file to write.
    form: one of `FORMATS`; None chooses by the extension.
    card: entries of the model card, for safetensors and ONNX.

  Raises:
    UserError: the format is unknown or can't hold a card, the network was
      loaded from the file, the network can't be exported in this format, or the
      file cannot be written.
  """
  path = Path(path)
  refuse_overwriting(path, [pretrained.find(network.source)])
  form = format_of(path, form)
  if form != "stablehlo":
    FORMATS[form][1](network, path, card)
  elif card:
    raise UserError(
      "stablehlo files can't hold a model card; export to safetensors or ONNX,"
      " or without --card"
    )
  else:
    to_stablehlo(network, path)
    if _source_card(network):
      _logger.warning(
        "%s: stablehlo files can't hold the model card of %s",
        *(path, network.source),
      )
