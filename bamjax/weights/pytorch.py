"""Converts published PyTorch weights to variables of our networks."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import logging
from pathlib import Path
import re
from typing import Any

from flax import linen as nn
from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from bamjax.errors import UserError
from bamjax.layers import Normalization
from bamjax.models import create_model
from bamjax.models.registry import backbone
from bamjax.weights import mean_shift
from bamjax.weights.hints import Hints
from bamjax.weights.hints import NO_HINTS
from bamjax.weights.names import torch_name
from bamjax.weights.recognise import recognise
from bamjax.weights.recognise import Recognised

_logger = logging.getLogger(__name__)

# Input conventions of `super-image` that differ from the paper's: RCAN sees
# [0, 1] minus 255·mean, and AWSRN without BAM treats [0, 1] as [0, 255].
_SUPER_IMAGE = {
  "rcan": Normalization(gain=1, shift=255),
  "awsrn": Normalization(gain=1 / 127.5, shift=2),
}
NORMALIZATIONS = ("paper", "official", "super_image")

# By backbone. PAN's single upsampling step is ×2 or ×3.
_FITTING = {"pan": (2, 3)}
# CARN has a branch for each of its scales.
_HELD = {"carn": (2, 3, 4), "carn_m": (2, 3, 4)}

# A scale in a file's name: "pan_x3.pth", "3x-PAN.pth".
_NAMED = re.compile(r"(?i)(?:x|×|scale[_-]?)([2348])(?!\d)|(?<!\d)([2348])[x×]")

# Names that an error lists for each kind of fault; the rest are counted.
_LISTED = 40


class AmbiguousScale(UserError):
  """Weights whose tensors fit several scales, with no scale in their name.

  Attributes:
    scales: the scales that they fit.
  """

  def __init__(self, message: str, scales: Sequence[int]):
    super().__init__(message)
    self.scales = tuple(scales)


def from_tensors(
  tensors: Mapping[str, np.ndarray],
  hints: Hints = NO_HINTS,
  name: str = "these weights",
) -> tuple[nn.Module, dict[str, Any]]:
  """Converts tensors to the network that they belong to.

  Args:
    tensors: plain PyTorch names to float32 arrays.
    hints: what the tensors may leave open, see `loading.read_network`.
    name: name of the source, for messages. The scale is taken from it if the
      tensors fit several scales and there is no hint.

  Returns:
    The module and its variables, {"params": …} of float32 arrays.

  Raises:
    UserError: no supported network has these tensors, some don't match, or they
      fit several networks.
  """
  network = recognise(tensors, hints)
  scale, normalization = hints.scale, hints.normalization
  fitting = _FITTING.get(network.model, ())
  held = _HELD.get(network.model, ())
  several = () if scale or network.scale else (*fitting, *held)
  named = _scale_in(Path(name).name, several)
  if several:
    scale = named or several[0]
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
      f"recognised as {what} ×{module.scale}, but the tensors don't match it"
      " (to load them as another network, use --model, --attn or --scale):"
      f" {'; '.join([*faults, *problems])}"
    )
  if several:
    _report_scale(name, named, several, bool(held))
  if normalization is None:
    _report_normalization(name, network, module)
  return module.clone(normalization=form), {"params": params}


def _scale_in(name: str, scales: Sequence[int]) -> int | None:
  """Finds the one of `scales` in a file's name: "pan_x3.pth", "3x-PAN.pth".

  Returns:
    The scale; None if the name contains none of them, or several.
  """
  named = {int(a or b) for a, b in _NAMED.findall(name)}
  found = named.intersection(scales)
  return found.pop() if len(found) == 1 else None


def _report_scale(
  name: str, named: int | None, several: Sequence[int], held: bool
) -> None:
  """Warns about a scale that the tensors left open.

  Args:
    name: name of the weights' source.
    named: the scale in that name, if any.
    several: scales that the tensors fit.
    held: whether the tensors have a branch for each of them.

  Raises:
    AmbiguousScale: the scale is a guess.
  """
  *first, last = (f"×{scale}" for scale in several)
  listed = f"{', '.join(first)} and {last}"
  flags = " or ".join(f"--scale={scale}" for scale in several)
  if named:
    _logger.warning(
      "%s: the tensors fit %s; using ×%d, as in the name", name, listed, named
    )
  elif held:
    _logger.warning(
      "%s: has branches for %s; using ×%d (to change this, use %s)",
      *(name, listed, several[0], flags),
    )
  else:
    raise AmbiguousScale(
      f"the tensors fit {listed}, and the name does not say which; use {flags}",
      several,
    )


def _default_normalization(network: Recognised) -> str:
  native = network.attn == backbone(network.model).native
  return "official" if native else "paper"


def _report_normalization(
  name: str, network: Recognised, module: nn.Module
) -> None:
  """Warns that the normalization is a guess, if releases differ in it."""
  default = _default_normalization(network)
  # With another attention, a network is not from its backbone's own release.
  forms = [
    n for n in NORMALIZATIONS if default == "official" or n != "official"
  ]
  others = [n for n in forms if _create(network, module.scale, n) != module]
  if others:
    _logger.warning(
      "%s: the tensors do not determine the input normalization of %s; assuming"
      " %s (to change this, use --normalization=%s)",
      *(name, network.model, default, " or ".join(others)),
    )


def _create(
  network: Recognised, scale: int | None, normalization: str | None
) -> nn.Module:
  """Builds the module of a recognised network.

  Args:
    network: what `recognise` found.
    scale: the scale, if it is not the recognised one.
    normalization: one of `NORMALIZATIONS`; None is the default.

  Raises:
    UserError: the network has no such scale or normalization.
  """
  if normalization is None:
    normalization = _default_normalization(network)
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
  # After `create_model`, whose message for an impossible scale is better.
  if network.scale and scale not in (None, network.scale):
    raise UserError(
      f"weights of {network.model} ×{network.scale}, not ×{scale}; omit --scale"
    )
  quirk = _SUPER_IMAGE.get(network.model)
  # super-image's AWSRN with BAM has the paper's convention.
  plain = (network.model, network.attn) != ("awsrn", "bam")
  if normalization == "super_image" and quirk and plain:
    module = module.clone(normalization=quirk)
  return module


def convert(
  tensors: Mapping[str, np.ndarray], module: nn.Module, network: Recognised
) -> tuple[dict[str, Any], list[str]]:
  """Converts PyTorch tensors to a tree of our parameters.

  Args:
    tensors: plain PyTorch names to arrays, without mean-shift layers.
    module: the network.
    network: what `recognise` found in the tensors.

  Returns:
    The parameters, and a phrase for each kind of fault: missing tensors,
    unexpected ones, and those of the wrong shape. No phrases if all match.

  Raises:
    UserError: no network has layers of these shapes.
  """
  example = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
  try:
    tree = jax.eval_shape(module.init, jax.random.key(0), example)["params"]
  # Odd shapes raise nearly anything in Flax.
  except Exception as error:
    reason = " ".join(str(error).split())
    raise UserError(
      f"no {network.model} has tensors of these shapes: {reason}"
    ) from error
  shapes = {
    path: leaf.shape
    for path, leaf in traverse_util.flatten_dict(tree, sep="/").items()
  }
  table = network.naming.table(network.attn)
  fields = {f.name for f in dataclasses.fields(module)}
  values: dict[str, int] = {
    field: getattr(module, field)
    for field in ("blocks", "groups")
    if field in fields
  }
  params: dict[str, jax.Array] = {}
  missing: list[str] = []
  misshaped: list[str] = []
  unexpected = dict.fromkeys(tensors)
  for path, shape in shapes.items():
    layer, _, leaf = path.rpartition("/")
    name = torch_name(path, table, values, f"{layer}/gain" in shapes)
    name = name or f"({path}, which has no name in this release)"
    if name not in tensors:
      missing.append(name)
      continue
    unexpected.pop(name, None)
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
      ("unexpected", list(unexpected)),
      ("wrong shape", misshaped),
    )
    if names
  ]
  return traverse_util.unflatten_dict(params, sep="/"), faults


def _torch_shape(leaf: str, shape: tuple[int, ...]) -> tuple[int, ...]:
  """PyTorch's shape of one of our parameters."""
  if leaf == "kernel":  # k×k×I×O → O×I×k×k
    return (shape[3], shape[2], *shape[:2])
  if leaf in ("alpha", "beta"):
    return (1, *shape, 1, 1)
  return (*shape, 1, 1, 1) if leaf == "gain" else shape


def _listed(names: list[str]) -> str:
  more = len(names) - _LISTED
  return ", ".join(names[:_LISTED]) + (f" and {more} more" if more > 0 else "")
