"""Networks as files for use elsewhere: safetensors, StableHLO, ONNX.

The exported function maps RGB in [0, 1], N×H×W×3 float32, to N×sH×sW×3
float32, not clipped. N, H and W are free.
"""

from collections.abc import Callable
from collections.abc import Mapping
from importlib.metadata import version
import logging
from pathlib import Path
from typing import Any
import warnings

from flax import linen as nn
import jax
from jax import export as jax_export
import jax.numpy as jnp
import numpy as np

from bamjax import pretrained
from bamjax.errors import UserError
from bamjax.files import refuse_overwriting
from bamjax.files import replacing
from bamjax.layers import portable
from bamjax.layers.cpu.choice import without_choice
from bamjax.networks import Network
from bamjax.weights import save_weights
from bamjax.weights import store

_PLATFORMS = ("cpu", "cuda", "tpu")


def _function(module: nn.Module, variables) -> Callable[[jax.Array], jax.Array]:
  def super_resolve(lr):
    # As `Upscaler`: TF32 would move the output.
    with jax.default_matmul_precision("highest"), portable(True):
      return module.apply(variables, lr)

  return super_resolve


def to_safetensors(
  network: Network, path: Path, card: Mapping[str, Any] | None = None
) -> None:
  """Writes weights with their model card, as `bamjax.load_weights` reads them.

  The card of the file that they come from, if it has one, goes along.

  Args:
    network: what is written.
    path: of the file.
    card: what the card says beside, or instead of, that card, and the weights'
      source and step.

  Raises:
    UserError: the file cannot be written.
  """
  told = _source_card(network) | {"source": network.source}
  if network.step is not None:
    told["step"] = network.step
  save_weights(path, network.module, network.variables, told | (card or {}))


def _source_card(network: Network) -> dict[str, Any]:
  """The card of the file that a network comes from; empty if it has none."""
  path = pretrained.find(network.source)
  if not store.is_own(path):
    return {}
  try:
    card = store.read_card(path)
  except UserError as error:
    # The weights are read without it, too.
    logging.warning("%s; it is not kept", error)
    return {}
  del card["network"]  # which the written file tells by itself
  return card


def to_stablehlo(network: Network, path: Path) -> None:
  """Writes a serialised `jax.export` program for CPU, CUDA and TPU.

  Raises:
    UserError: the file cannot be written.
  """
  n, height, width = jax_export.symbolic_shape("n, h, w")
  lr = jax.ShapeDtypeStruct((n, height, width, 3), jnp.float32)
  function = jax.jit(_function(network.module, network.variables))
  exported = jax_export.export(function, platforms=_PLATFORMS)(lr)
  with replacing(path) as temporary:
    temporary.write_bytes(exported.serialize())


def load_stablehlo(path: str | Path) -> Callable[[Any], jax.Array]:
  """Reads a file of `to_stablehlo`.

  Needs JAX alone, and runs where this JAX runs.

  Returns:
    The exported function.

  Raises:
    UserError: the file is absent, or no such program.
  """
  try:
    exported = jax_export.deserialize(bytearray(Path(path).read_bytes()))
  except OSError as error:
    raise UserError(f"{path} cannot be read: {error.strerror}") from None
  # Damaged bytes raise nearly anything in flatbuffers.
  except Exception as error:
    raise UserError(f"{path}: no program of jax.export ({error})") from None
  return lambda lr: exported.call(jnp.asarray(lr, jnp.float32))


def to_onnx(network: Network, path: Path) -> None:
  """Writes an ONNX model with input `lr` and output `sr`, by jax2onnx.

  The written model is run once by ONNX Runtime, beside the network.

  Raises:
    UserError: jax2onnx or ONNX Runtime is absent, the network is not converted
      or the model's output is not the network's, or the file cannot be written.
  """
  try:
    import jax2onnx
    import onnx
    import onnxruntime
  except ImportError as error:
    raise UserError(
      f"ONNX needs {error.name}, which is not installed: pip install"
      " jax2onnx onnxruntime"
    ) from None
  # It warns of shapes that it leaves out of the file.
  logging.getLogger("onnx_ir").setLevel(logging.ERROR)
  function = _function(network.module, network.variables)
  converter = f"jax2onnx {version('jax2onnx')}"
  try:
    with without_choice(True), warnings.catch_warnings():
      # It asks for float64 on its way.
      warnings.simplefilter("ignore")
      model = jax2onnx.to_onnx(
        function,
        [("N", "H", "W", 3)],
        model_name=network.model,
        input_names=["lr"],
        output_names=["sr"],
      )
  # Operations without a form in ONNX raise nearly anything.
  except Exception as error:
    raise UserError(
      f"{converter} does not convert this network ({error!r})"
    ) from None
  data = model.SerializeToString()
  onnx.checker.check_model(model)
  session = onnxruntime.InferenceSession(data)
  rng = np.random.default_rng(0)
  for shape in ((1, 24, 20, 3), (2, 17, 31, 3)):
    lr = rng.random(shape, dtype=np.float32)
    (sr,) = session.run(None, {"lr": lr})
    error = np.abs(sr - np.asarray(function(lr))).max()
    if error > 1e-4:
      raise UserError(
        f"the ONNX model is off by {error:.1e}; {converter} does not convert"
        " this network"
      )
  with replacing(path) as temporary:
    temporary.write_bytes(data)


FORMATS: dict[str, tuple[str, Callable[[Network, Path], None]]] = {
  "safetensors": (".safetensors", to_safetensors),
  "stablehlo": (".stablehlo", to_stablehlo),
  "onnx": (".onnx", to_onnx),
}


def write(
  network: Network,
  path: Path,
  form: str | None = None,
  card: Mapping[str, Any] | None = None,
) -> None:
  """Writes a network in a format; None tells it by the extension.

  Raises:
    UserError: the format is unknown, or takes no card, the file is one that the
      network was read from, or as its function says.
  """
  refuse_overwriting(path, [pretrained.find(network.source)])
  if form is None:
    by_suffix = {suffix: name for name, (suffix, _) in FORMATS.items()}
    form = by_suffix.get(path.suffix.lower())
  if form not in FORMATS:
    raise UserError(
      f"{path}: unknown format; give --format={'|'.join(FORMATS)}"
    )
  if form == "safetensors":
    to_safetensors(network, path, card)
  elif card:
    raise UserError(f"a model card goes with safetensors, not with {form}")
  else:
    FORMATS[form][1](network, path)
    if left := _source_card(network):
      logging.warning(
        "%s: %s keeps no model card; that of %s is left out: %s",
        *(path, form, network.source, ", ".join(left)),
      )
