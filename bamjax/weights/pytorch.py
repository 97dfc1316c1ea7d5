"""Published PyTorch weights as variables of our networks."""

from collections.abc import Mapping
import dataclasses
import logging
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
from bamjax.layers import Normalization
from bamjax.models import create_model
from bamjax.models.registry import backbone
from bamjax.weights import mean_shift
from bamjax.weights import reading
from bamjax.weights import scales
from bamjax.weights import store
from bamjax.weights.hints import Hints
from bamjax.weights.hints import NO_HINTS
from bamjax.weights.names import torch_name
from bamjax.weights.recognise import recognise
from bamjax.weights.recognise import Recognised

# What `super-image` feeds the networks where it is not the paper's form: RCAN
# in [0, 1] minus 255·mean, and AWSRN without BAM in [0, 1] as if in [0, 255].
_SUPER_IMAGE = {
  "rcan": Normalization(gain=1, shift=255),
  "awsrn": Normalization(gain=1 / 127.5, shift=2),
}
NORMALIZATIONS = ("paper", "official", "super_image")

# Names that an error lists of each kind; more are counted.
_LISTED = 40


def read_network(
  source: str | os.PathLike | Mapping[str, Any], hints: Hints = NO_HINTS
) -> tuple[nn.Module, dict[str, Any]]:
  """Loads weights into the network that they belong to.

  Files of `save_weights` tell all of their network. Of published PyTorch
  weights, backbone, attention and widths are told by the tensors' names and
  shapes. The namings are those of the BAM paper's code, of each backbone's own
  release, of BasicSR (EDSR, RCAN) and of super-image, with or without
  `module.`, `params`, `state_dict`, `generator` and the like around them (a
  moving average, `params_ema`, is preferred to `params`). Where the tensors
  leave a choice, a warning says what was chosen.

  Args:
    source: the name of shipped weights, "pan-bam-x2"; a file of safetensors,
      NumPy (.npz) or PyTorch (which needs torch), whatever its extension; or a
      mapping of PyTorch's tensor names to arrays (conv weights O×I×k×k).
    hints: what the tensors may leave open. PAN's ×2 and ×3 have the same
      shapes, and CARN holds branches of ×2, ×3 and ×4: without a scale, it is
      taken from the file's name, "pan_x3.pth", and if that has none, CARN is
      loaded as ×2. The normalization can't be inferred: by default it is
      "official" if the network has its own paper's attention, else "paper";
      "super_image" is for super-image's weights, whose RCAN and AWSRN have an
      input convention of their own. The official EDSR with 256 features has
      res_scale 0.1.

  Returns:
    The module, which maps RGB in [0, 1], N×H×W×3, to float32 RGB around [0, 1],
    N×sH×sW×3; and its variables, {"params": …} of float32 arrays.

  Raises:
    UserError: the file can't be read, the tensors are of no known network, some
      are missing, left over or misshaped (all of which are listed), hold NaN,
      infinity or integers, or fit several networks.
  """
  if isinstance(source, Mapping):
    name, tensors = "these weights", reading.unwrap(source)
    return from_tensors(tensors, hints, name)
  path = pretrained.find(source)
  if store.is_own(path):
    return store.load(path, hints)
  content = reading.read(path)
  name = os.fspath(source)
  try:
    tensors = reading.unwrap(content, name)
    return from_tensors(tensors, hints, name)
  except scales.AmbiguousScale as error:
    raise scales.AmbiguousScale(f"{name}: {error}", error.scales) from error
  except UserError as error:
    raise UserError(f"{name}: {error}") from error


def from_tensors(
  tensors: Mapping[str, np.ndarray],
  hints: Hints = NO_HINTS,
  name: str = "these weights",
) -> tuple[nn.Module, dict[str, Any]]:
  """Loads tensors into the network that they belong to, as `read_network`.

  Args:
    tensors: plain PyTorch names to float32 arrays.
    hints: what the tensors may leave open.
    name: of their source, for messages. The scale is taken from it if the
      tensors fit several scales and there is no hint.

  Returns:
    The module and its variables, {"params": …} of float32 arrays.

  Raises:
    UserError: the tensors are of no known network, don't fit it, or fit several
      networks.
  """
  network = recognise(tensors, hints)
  scale, normalization = hints.scale, hints.normalization
  fitting = scales.FITTING.get(network.model, ())
  held = scales.HELD.get(network.model, ())
  several = () if scale or network.scale else (*fitting, *held)
  by_name = scales.by_name(Path(name).name, several)
  if several:
    scale = by_name or several[0]
  module = _create(network, scale, normalization)
  shifts = {}
  if backbone(network.model).fixed:
    shifts = {n: t for n, t in tensors.items() if mean_shift.is_mean_shift(n)}
  form, problems = mean_shift.check(shifts, module.normalization)
  learned = {n: t for n, t in tensors.items() if n not in shifts}
  params, faults = convert(learned, module, network)
  if problems or faults:
    what = network.model
    if network.attn != "none":
      what += f" with {network.attn}"
    raise UserError(
      f"weights of {what} ×{module.scale} don't fit:"
      f" {'; '.join([*faults, *problems])}"
    )
  if several:
    _tell_scale(name, by_name, several, bool(held))
  if normalization is None:
    _tell_form(name, network, module)
  return module.clone(normalization=form), {"params": params}


def _tell_scale(name, by_name, several, held):
  *first, last = (f"×{scale}" for scale in several)
  listed = f"{', '.join(first)} and {last}"
  flags = " or ".join(f"--scale={scale}" for scale in several)
  if by_name:
    logging.warning(
      "%s: the tensors fit %s; taken as ×%d, as the name says",
      *(name, listed, by_name),
    )
  elif held:
    logging.warning(
      "%s: holds branches of %s; taken as ×%d, for another give %s",
      *(name, listed, several[0], flags),
    )
  else:
    raise scales.AmbiguousScale(
      f"the tensors fit {listed}, and the name does not say which; give"
      f" {flags}",
      several,
    )


def _usual_form(network: Recognised) -> str:
  native = network.attn == backbone(network.model).native
  return "official" if native else "paper"


def _tell_form(name: str, network: Recognised, module: nn.Module) -> None:
  """Says what the network is taken to be fed, where releases differ in it."""
  usual = _usual_form(network)
  # A backbone's own release has no attention of others.
  forms = [n for n in NORMALIZATIONS if usual == "official" or n != "official"]
  others = [n for n in forms if _create(network, module.scale, n) != module]
  if others:
    logging.warning(
      "%s: the tensors do not tell what %s is fed; taken as %s, else give"
      " --normalization=%s",
      *(name, network.model, usual, " or ".join(others)),
    )


def _create(
  network: Recognised, scale: int | None, normalization: str | None
) -> nn.Module:
  """The module of a recognised network, in the form asked for."""
  if normalization is None:
    normalization = _usual_form(network)
  if normalization not in NORMALIZATIONS:
    raise UserError(
      f"unknown normalization {normalization!r}; choose from"
      f" {', '.join(NORMALIZATIONS)}"
    )
  options = dict(network.options)
  wide_edsr = network.model == "edsr" and options.get("features", 256) == 256
  if wide_edsr and normalization == "official":
    options["res_scale"] = 0.1
  module = create_model(
    network.model,
    network.attn,
    (network.scale or 2) if scale is None else scale,
    normalization="official" if normalization == "official" else "paper",
    **options,
  )
  # After the network is made, which tells a scale that there is none of.
  if network.scale and scale not in (None, network.scale):
    raise UserError(
      f"weights of {network.model} ×{network.scale}, not ×{scale}"
    )
  quirk = _SUPER_IMAGE.get(network.model)
  # super-image's AWSRN with BAM is in the paper's form.
  plain = (network.model, network.attn) != ("awsrn", "bam")
  if normalization == "super_image" and quirk and plain:
    module = module.clone(normalization=quirk)
  return module


def convert(
  tensors: Mapping[str, np.ndarray], module: nn.Module, network: Recognised
) -> tuple[dict[str, Any], list[str]]:
  """PyTorch's tensors as a tree of our parameters.

  Args:
    tensors: plain PyTorch names to arrays, without the mean shift's.
    module: the network.
    network: what `recognise` tells of the tensors.

  Returns:
    The parameters, and what doesn't fit: missing, left over and misshaped
    tensors, a phrase each kind, no phrase where all fits.

  Raises:
    UserError: there is no such network.
  """
  example = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
  try:
    tree = jax.eval_shape(module.init, jax.random.key(0), example)["params"]
  # Odd shapes raise nearly anything in Flax.
  except Exception as error:
    reason = " ".join(str(error).split())
    raise UserError(
      f"the tensors' shapes make no {network.model}: {reason}"
    ) from error
  shapes = {
    path: leaf.shape
    for path, leaf in traverse_util.flatten_dict(tree, sep="/").items()
  }
  table = network.naming.table(network.attn)
  fields = {f.name for f in dataclasses.fields(module)}
  values = {
    field: getattr(module, field)
    for field in ("blocks", "groups")
    if field in fields
  }
  params, missing, misshaped = {}, [], []
  left_over = dict.fromkeys(tensors)
  for path, shape in shapes.items():
    layer, _, leaf = path.rpartition("/")
    name = torch_name(path, table, values, f"{layer}/gain" in shapes)
    name = name or f"({path}, which this naming has no name for)"
    if name not in tensors:
      missing.append(name)
      continue
    left_over.pop(name, None)
    tensor = tensors[name]
    theirs = _torch_shape(leaf, shape)
    if tensor.shape != theirs:
      misshaped.append(f"{name} is {tensor.shape}, not {theirs}")
      continue
    if leaf == "kernel":
      tensor = tensor.transpose(2, 3, 1, 0)
    params[path] = jnp.asarray(tensor.reshape(shape))
  faults = [
    f"{kind}: {_listed(names)}"
    for kind, names in (
      ("missing", missing),
      ("left over", list(left_over)),
      ("misshaped", misshaped),
    )
    if names
  ]
  return traverse_util.unflatten_dict(params, sep="/"), faults


def _torch_shape(leaf: str, shape: tuple[int, ...]) -> tuple[int, ...]:
  if leaf == "kernel":  # k×k×I×O → O×I×k×k
    return (shape[3], shape[2], *shape[:2])
  return (*shape, 1, 1, 1) if leaf == "gain" else shape


def _listed(names: list[str]) -> str:
  more = len(names) - _LISTED
  return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
