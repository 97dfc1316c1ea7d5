"""Which network a set of PyTorch tensors is, by their names and shapes."""

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
from bamjax.layers import ATTENTIONS
from bamjax.models.registry import backbone
from bamjax.models.registry import family
from bamjax.models.registry import SCALES
from bamjax.weights.hints import Hints
from bamjax.weights.hints import NO_HINTS
from bamjax.weights.mean_shift import is_mean_shift
from bamjax.weights.names import Naming
from bamjax.weights.names import NAMINGS
from bamjax.weights.names import our_layer

Tensors = Mapping[str, np.ndarray]
# Our name of a layer → the shape of its conv's weight in PyTorch, out ×
# in/groups × k × k; () where it has none.
Shapes = Mapping[str, tuple[int, ...]]

# Maps that the spatial attention's conv sees.
_SPATIAL_INPUTS = {
  "bam": 1,
  "msam": 1,
  "bam_allpool": 2,
  "cbam": 2,
  "msam_avgpool": 2,
}
# Attentions whose convs have biases.
_BIASED = ("ca", "cca", "pa", "la")
# Layers that put out as many channels as the backbone has.
_MAIN = r"head|(.*/)?(body|fuse(_\d+)?)|.*(block|unit)_\d+/conv_1"


@dataclasses.dataclass(frozen=True)
class Recognised:
  """A network, as told by its tensors.

  Attributes:
    naming: the naming of its tensors.
    model: name of the backbone.
    attn: kind of its attention, "none" included.
    scale: its scale; None where the tensors are the same for several.
    options: the backbone's other hyper-parameters.
  """

  naming: Naming
  model: str
  attn: str
  scale: int | None
  options: Mapping[str, Any]


def recognise(tensors: Tensors, hints: Hints = NO_HINTS) -> Recognised:
  """Tells a network by its tensors.

  Args:
    tensors: plain PyTorch names to arrays.
    hints: the backbone and the attention, if the caller knows them.

  Raises:
    UserError: the tensors are of no known network, or not of `hints.model`; or
      there is no such model or attention.
  """
  model, attn = hints.model, hints.attn
  if attn not in (None, "native", *ATTENTIONS):
    raise UserError(
      f"unknown attention {attn!r}; choose from"
      f" {', '.join(('native', *ATTENTIONS))}"
    )
  layers = {_layer(name) for name in tensors if not is_mean_shift(name)}
  naming = _naming_of(layers, model)
  if attn is None:
    attn = _attention_of(tensors, layers, naming)
  elif attn == "native":
    attn = backbone(naming.model).native
  table = naming.table(attn)
  # A layer counts though its conv's weight is missing.
  shapes = {our_layer(_layer(name), table): () for name in tensors}
  shapes |= {
    our_layer(_layer(name), table): tensor.shape
    for name, tensor in tensors.items()
    if tensor.ndim == 4 and not name.endswith("weight_g")
  }
  shapes.pop(None, None)
  read = hyperparameters(naming.model, shapes)
  options = {key: value for key, value in read.items() if value is not None}
  scale = options.pop("scale", None)
  if scale not in SCALES:  # then the tensors that say so are misshaped
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
  """The naming that accounts for most of the layers, the first among equals."""
  if model is not None:
    backbone(model)  # refuses an unknown name

  def accounted(naming):
    rows = {row for kind in naming.kinds() for row in naming.table(kind)}
    return sum(our_layer(layer, tuple(rows)) is not None for layer in layers)

  wanted = model and family(model)
  best = max((n for n in NAMINGS if wanted in (None, n.model)), key=accounted)
  if 2 * accounted(best) <= len(layers):
    whose = f"{model}'s" if model else "any known backbone's"
    raise UserError(
      f"these tensors are not {whose}; their layers are"
      f" {', '.join(sorted(layers)[:4]) or 'none'}"
      f"{', …' if len(layers) > 4 else ''}"
    )
  return best


def _attention_of(tensors: Tensors, layers: set[str], naming: Naming) -> str:
  """The attention that accounts for most layers at the attention's place."""

  def score(kind):
    if kind == "none":
      return 0, 0
    rows = naming.inside(kind)
    hits = [{a for a in layers if our_layer(a, (row,))} for row in rows]
    found = set().union(*hits)
    biased = any(f"{layer}.bias" in tensors for layer in found)
    inputs = {
      tensors[f"{layer}.weight"].shape[1]
      for layer in found
      if np.shape(tensors.get(f"{layer}.weight"))[2:] == (7, 7)
    }
    fits = biased == (kind in _BIASED)
    fits &= not inputs - {_SPATIAL_INPUTS.get(kind)}
    counts = [len(hit) for hit in hits]
    names = sum(counts) - 0.5 * max(counts) * counts.count(0)
    # Where shapes fit none, a tensor is missing or misshaped: names decide.
    return names * fits, names

  kinds = ("none", *naming.kinds())
  best = max(kinds, key=score)
  alike = [kind for kind in kinds if score(kind) == score(best)]
  # Of those alike, one that is published so is meant.
  if best not in ("none", *naming.attentions) and alike[1:] and score(best)[0]:
    raise UserError(
      f"the attention's tensors fit {' and '.join(alike)}; give"
      f" {' or '.join(f'--attn={kind}' for kind in alike)}"
    )
  return best


def _likeliest(values: Iterable[int]) -> int | None:
  """The commonest value, so that one odd shape is told as the odd one."""
  commonest = collections.Counter(filter(None, values)).most_common(1)
  return commonest[0][0] if commonest else None


def _reduction(shapes: Shapes) -> int | None:
  """Ratio of the attention's bottleneck, where it has one."""
  return _likeliest(
    shape[1] // shape[0]
    for layer, shape in shapes.items()
    if re.search(r"/(squeeze|dilated_3)$", layer)
    if shape and 0 < shape[0] <= shape[1]
  )


def _channels(shapes: Shapes, layers: str) -> int | None:
  """Channels that layers of a pattern put out, by most of them."""
  return _likeliest(
    shape[0]
    for layer, shape in shapes.items()
    if shape and re.fullmatch(layers, layer)
  )


def _numbers(shapes: Shapes, layer: str) -> set[int]:
  """The numbers at the place of the group in a pattern of our layers."""
  matches = (re.fullmatch(layer, ours) for ours in shapes)
  return {int(match.group(1)) for match in matches if match}


def _count(shapes: Shapes, layer: str) -> int | None:
  numbers = _numbers(shapes, layer)
  top = max(numbers, default=-1) + 1
  # Some may be missing, but if most are, the last one's number is odd.
  return (top if top <= 2 * len(numbers) else len(numbers)) or None


def _outputs(shapes: Shapes, layer: str) -> int | None:
  return shapes[layer][0] if shapes.get(layer) else None


def _upsampler_scale(shapes: Shapes) -> int | None:
  """Scale of EDSR's upsampler, of which one conv triples, or each doubles."""
  steps = _count(shapes, r"upsampler/conv_(\d+)")
  if steps is None:
    return None
  outputs, inputs, *_ = shapes.get("upsampler/conv_0") or (4, 1)
  return 3 if steps == 1 and outputs == 9 * inputs else 2**steps


def _shuffle_scale(shapes: Shapes, layer: str) -> int | None:
  """Scale of one pixel shuffle to RGB: the conv has 3·s² outputs."""
  outputs = _outputs(shapes, layer)
  return outputs and math.isqrt(outputs // 3)


def hyperparameters(model: str, shapes: Shapes) -> dict[str, Any]:
  """Hyper-parameters by the shapes of our layers; None where one is missing."""
  first = shapes.get("block_0/unit_0/conv_0")
  blocks = _count(shapes, r"block_(\d+)/.*")
  options = {"features": _channels(shapes, _MAIN), "blocks": blocks}
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
    case "pan":
      options["up_features"] = _channels(shapes, r"up_\d+_conv_\d")
      # One step is ×2 or ×3, whose tensors are the same.
      steps = _count(shapes, r"up_(\d+)_conv_\d") or 1
      options["scale"] = 2**steps if steps > 1 else None
  return options


def _drln_groups(shapes: Shapes) -> tuple[int, ...] | None:
  """Sizes of DRLN's groups: inside one, each fusion sees one map more."""
  count = _count(shapes, r"fuse_(\d+)") or 0
  sizes = []
  for i in range(count):
    if not (conv := shapes.get(f"fuse_{i}")):
      return None  # leave the default, so that this one is told as missing
    if conv[1] == 2 * conv[0]:
      sizes.append(0)
    sizes[-1:] = [sizes[-1] + 1] if sizes else [1]
  return tuple(sizes) or None
