"""Recognises a network by the names and shapes of its PyTorch tensors."""

import collections
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import math
import re
from typing import Any

import numpy as np

from bamjax.errors import UserError
from bamjax.layers import Attention
from bamjax.models.registry import backbone
from bamjax.models.registry import check_attention
from bamjax.models.registry import family
from bamjax.models.registry import SCALES
from bamjax.weights.hints import Hints
from bamjax.weights.hints import NO_HINTS
from bamjax.weights.mean_shift import is_mean_shift
from bamjax.weights.names import Naming
from bamjax.weights.names import NAMINGS
from bamjax.weights.names import our_layer

Tensors = Mapping[str, np.ndarray]
# Our name of a layer → shape of its conv's weight in PyTorch, output channels ×
# input channels/groups × k × k; () for other layers.
Shapes = Mapping[str, tuple[int, ...]]

# Input channels of the spatial attention's conv.
_SPATIAL_INPUTS = {
  "bam": 1,
  "msam": 1,
  "bam_allpool": 2,
  "cbam": 2,
  "msam_avgpool": 2,
}
# Attentions whose convs have biases.
_BIASED = ("ca", "cca", "pa", "la", "esa_cca")
# Layers with as many output channels as the backbone has features.
_MAIN = r"head|(.*/)?(body|fuse(_\d+)?)|.*(block|unit)_\d+/conv_1"


@dataclasses.dataclass(frozen=True)
class Recognised:
  """A network, as inferred from its tensors.

  Attributes:
    naming: the release whose names the tensors have.
    model: name of the backbone.
    attn: name of the attention, possibly "none".
    scale: upscaling factor; None if the tensors fit several.
    options: the backbone's other hyper-parameters.
  """

  naming: Naming
  model: str
  attn: str
  scale: int | None
  options: Mapping[str, Any]


def recognise(tensors: Tensors, hints: Hints = NO_HINTS) -> Recognised:
  """Infers a network from its tensors.

  Args:
    tensors: plain PyTorch names to arrays.
    hints: the backbone and the attention, if the caller knows them.

  Raises:
    UserError: no supported network, or none of `hints.model`, has these
      tensors; they fit several attentions; or a hint is an unknown name.
  """
  model, attn = hints.model, hints.attn
  if attn is not None:
    check_attention(attn)
  layers = {_layer(name) for name in tensors if not is_mean_shift(name)}
  naming = _naming_of(layers, model)
  if attn is None:
    attn = _attention_of(tensors, layers, naming)
  elif attn == "native":
    attn = backbone(naming.model).native
  table = naming.table(attn)
  shapes: dict[str, tuple[int, ...]] = {}
  for name, tensor in tensors.items():
    if (ours := our_layer(_layer(name), table)) is None:
      continue
    shapes.setdefault(ours, ())  # a layer counts even without its weight
    if tensor.ndim == 4 and not name.endswith("weight_g"):
      shapes[ours] = tensor.shape
  inferred = hyperparameters(naming.model, shapes)
  options = {key: value for key, value in inferred.items() if value is not None}
  scale = options.pop("scale", None)
  if scale not in SCALES:  # the tensors that determine it have a wrong shape
    scale = None
  model = model or naming.model
  if model == "edsr" and (options.get("blocks"), options.get("features")) == (
    16,
    64,
  ):
    model = "edsr_baseline"
  if reduction := _reduction(shapes):
    options["attention"] = Attention(attn, reduction)
  return Recognised(naming, model, attn, scale, options)


def _layer(name: str) -> str:
  return name.rpartition(".")[0]


def _naming_of(layers: set[str], model: str | None) -> Naming:
  """The naming with most of the layers; the first if there are several.

  Raises:
    UserError: no naming has more than half of them, or `model` is unknown.
  """
  if model is not None:
    backbone(model)  # raises for an unknown name

  def accounted(naming: Naming) -> int:
    rows = {row for kind in naming.kinds() for row in naming.table(kind)}
    return sum(our_layer(layer, tuple(rows)) is not None for layer in layers)

  wanted = model and family(model)
  best = max((n for n in NAMINGS if wanted in (None, n.model)), key=accounted)
  if 2 * accounted(best) <= len(layers):
    listed = ", ".join(sorted(layers)[:4]) + (", …" if len(layers) > 4 else "")
    found = f"found {listed}" if listed else "found no named layers"
    if model:
      raise UserError(
        f"not weights of {model}: most layers have other names ({found});"
        " without --model, the backbone is inferred"
      )
    raise UserError(
      "not weights of a supported backbone: no known release names its layers"
      f" this way ({found})"
    )
  return best


def _attention_of(tensors: Tensors, layers: set[str], naming: Naming) -> str:
  """The attention with most of the layers at the attention's place.

  Raises:
    UserError: several attentions fit equally well.
  """

  def score(kind: str) -> tuple[float, float]:
    if kind == "none":
      return 0, 0
    rows = naming.inside(kind)
    hits = [{a for a in layers if our_layer(a, (row,))} for row in rows]
    found: set[str] = set().union(*hits)
    biased = any(f"{layer}.bias" in tensors for layer in found)
    weights = [tensors.get(f"{layer}.weight") for layer in found]
    inputs = {
      weight.shape[1]
      for weight in weights
      if weight is not None and weight.shape[2:] == (7, 7)
    }
    fits = biased == (kind in _BIASED)
    fits &= not inputs - {_SPATIAL_INPUTS.get(kind)}
    counts = [len(hit) for hit in hits]
    names = sum(counts) - 0.5 * max(counts) * counts.count(0)
    # If no attention fits, tensors are missing or misshaped: names decide.
    return names * fits, names

  kinds = ("none", *naming.kinds())
  best = max(kinds, key=score)
  alike = [kind for kind in kinds if score(kind) == score(best)]
  # Among equals, the first one published in this release is meant.
  if best not in ("none", *naming.attentions) and alike[1:] and score(best)[0]:
    raise UserError(
      f"the attention's tensors fit {' and '.join(alike)}; use"
      f" {' or '.join(f'--attn={kind}' for kind in alike)}"
    )
  return best


def _likeliest(values: Iterable[int | None]) -> int | None:
  """The most common value other than 0 and None; None if there are no others.

  One odd shape does not change it, so the error names that tensor alone.
  """
  commonest = collections.Counter(filter(None, values)).most_common(1)
  return commonest[0][0] if commonest else None


def _reduction(shapes: Shapes) -> int | None:
  """Ratio of the attention's bottleneck; None if it has none."""
  return _likeliest(
    shape[1] // shape[0]
    for layer, shape in shapes.items()
    if re.search(r"/(squeeze|dilated_3)$", layer)
    if shape and 0 < shape[0] <= shape[1]
  )


def _channels(shapes: Shapes, layers: str) -> int | None:
  """Output channels of most layers that match a pattern."""
  return _likeliest(
    shape[0]
    for layer, shape in shapes.items()
    if shape and re.fullmatch(layers, layer)
  )


def _numbers(shapes: Shapes, layer: str) -> set[int]:
  """Numbers in our layers' names, at the group of a pattern."""
  matches = (re.fullmatch(layer, ours) for ours in shapes)
  return {int(match.group(1)) for match in matches if match}


def _count(shapes: Shapes, layer: str) -> int | None:
  """How many numbers there are at the group of a pattern; None if none."""
  numbers = _numbers(shapes, layer)
  top = max(numbers, default=-1) + 1
  # A few may be missing; if most are, the largest number is wrong.
  return (top if top <= 2 * len(numbers) else len(numbers)) or None


def _outputs(shapes: Shapes, layer: str) -> int | None:
  """Output channels of a layer; None if it has no conv weight."""
  return shapes[layer][0] if shapes.get(layer) else None


def _upsampler_scale(shapes: Shapes) -> int | None:
  """Scale of EDSR's upsampler: one ×3 conv, or a ×2 conv for each step."""
  steps = _count(shapes, r"upsampler/conv_(\d+)")
  if steps is None:
    return None
  outputs, inputs, *_ = shapes.get("upsampler/conv_0") or (4, 1)
  return 3 if steps == 1 and outputs == 9 * inputs else 2**steps


def _shuffle_scale(shapes: Shapes, layer: str) -> int | None:
  """Scale s of a single pixel shuffle to RGB: its conv has 3·s² outputs."""
  outputs = _outputs(shapes, layer)
  return outputs and math.isqrt(outputs // 3)


def hyperparameters(model: str, shapes: Shapes) -> dict[str, Any]:
  """Infers hyper-parameters from the shapes of layers.

  Args:
    model: name of the backbone.
    shapes: of its layers, by our names.

  Returns:
    Values by field, `scale` included unless every scale has these layers; None
    if the layers that determine a value are missing.
  """
  first = shapes.get("block_0/unit_0/conv_0")
  blocks = _count(shapes, r"block_(\d+)/.*")
  options: dict[str, Any] = {
    "features": _channels(shapes, _MAIN),
    "blocks": blocks,
  }
  match model:
    case "edsr" | "edsr_baseline" | "msrn":
      options["scale"] = _upsampler_scale(shapes)
    case "slwsr32":
      options["scale"] = _upsampler_scale(shapes)
      del options["blocks"]
    case "rcan":
      options["scale"] = _upsampler_scale(shapes)
      options["groups"] = _count(shapes, r"group_(\d+)/.*")
      options["blocks"] = _count(shapes, r"group_\d+/block_(\d+)/.*")
    case "drln":
      options["scale"] = _upsampler_scale(shapes)
      options["groups"] = _drln_groups(shapes)
      del options["blocks"]
    case "carn" | "carn_m":
      options["units"] = _count(shapes, r"block_0/fuse_(\d+)")
      if first and first[1] and first[0] % first[1] == 0:
        options["groups"] = first[0] // first[1]
    case "awsrn":
      options["scale"] = _shuffle_scale(shapes, "skip")
      options["units"] = _count(shapes, r"block_0/unit_(\d+)/.*")
      options["wide_features"] = _outputs(shapes, "block_0/unit_0/conv_0")
      sizes = sorted(_numbers(shapes, r"tail_(\d*[13579])"))
      options["tail_sizes"] = tuple(sizes) or None
    case "imdn":
      options["scale"] = _shuffle_scale(shapes, "tail")
      options["distilled"] = _outputs(shapes, "block_0/conv_3")
    case "bsrn":
      options["scale"] = _shuffle_scale(shapes, "tail")
      options["distilled"] = _channels(shapes, r"block_\d+/distill_\d")
    case "smfanet":
      options["scale"] = _shuffle_scale(shapes, "tail")
      wide = _channels(shapes, r"block_\d+/pcfn/enter")
      if wide and options["features"]:
        options["growth"] = wide // options["features"] or None
    case "pan":
      options["up_features"] = _channels(shapes, r"up_\d+_conv_\d")
      # A single step is ×2 or ×3, which have the same tensors.
      steps = _count(shapes, r"up_(\d+)_conv_\d") or 1
      options["scale"] = 2**steps if steps > 1 else None
  return options


def _drln_groups(shapes: Shapes) -> tuple[int, ...] | None:
  """Sizes of DRLN's groups: within one, each fusion has one more input map."""
  count = _count(shapes, r"fuse_(\d+)") or 0
  sizes: list[int] = []
  for i in range(count):
    if not (conv := shapes.get(f"fuse_{i}")):
      return None  # the default, so that the error names the missing layer
    if conv[1] == 2 * conv[0]:
      sizes.append(0)
    sizes[-1:] = [sizes[-1] + 1] if sizes else [1]
  return tuple(sizes) or None
