"""What a caller knows about a network before its weights are read."""

import dataclasses

from flax import linen as nn

from bamjax.models.registry import backbone
from bamjax.models.registry import check_attention
from bamjax.models.registry import family
from bamjax.models.registry import identify


@dataclasses.dataclass(frozen=True)
class Hints:
  """Facts about a network that its weights may not settle; None if unknown.

  Attributes:
    model: name of the backbone, from `list_models()`.
    attn: name of the attention; "native" is the backbone's own.
    scale: upscaling factor.
    normalization: "paper", "official" or "super_image".
    step: checkpoint of a run; None is the best one by PSNR-Y. Only runs have
      checkpoints.
  """

  model: str | None = None
  attn: str | None = None
  scale: int | None = None
  normalization: str | None = None
  step: int | None = None


NO_HINTS = Hints()


def mismatch(module: nn.Module, hints: Hints) -> str | None:
  """Describes how a network contradicts the hints, "scale 2, not 4".

  Networks are compared by what they are, not by name: "native" matches the
  backbone's own attention, EDSR's sizes are one family, and either of two names
  for the same normalization matches.

  Returns:
    The first contradiction, or None if there is none.

  Raises:
    UserError: no model or no attention has the name of the hint.
  """
  own, kind = identify(module)
  entry = backbone(own)
  if hints.model is not None:
    backbone(hints.model)  # raises for an unknown name
    if family(hints.model) != family(own):
      return f"model {own}, not {hints.model}"
  if hints.attn is not None:
    check_attention(hints.attn)
  attn = entry.native if hints.attn == "native" else hints.attn
  if attn not in (None, kind):
    return f"attn {kind}, not {attn}"
  if hints.scale not in (None, module.scale):
    return f"scale {module.scale}, not {hints.scale}"
  if (name := hints.normalization) is not None:
    if entry.normalizations.get(name) != module.normalization:
      return f"another normalization than {name}"
  return None
