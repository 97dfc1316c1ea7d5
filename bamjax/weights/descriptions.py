"""Describes a network as JSON, and builds it from its description."""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

from flax import linen as nn

from bamjax.errors import UserError
from bamjax.layers import Attention
from bamjax.layers import ATTENTIONS
from bamjax.layers import Normalization
from bamjax.models.registry import backbone
from bamjax.models.registry import identify
from bamjax.models.registry import SCALES
from bamjax.weights.mean_shift import Affine

# Fields that are described separately, or don't affect the weights.
_APART = (
  *("parent", "name", "scale", "attention", "normalization"),
  *("dtype", "remat"),
)
# Limit on widths and numbers of blocks.
_LARGEST = 2**16
# Shapes of a normalization's fields, by the first part of their names.
_SHAPES = {"gain": (), "shift": (), "matrix": (3, 3), "offset": (3,)}


def describe(module: nn.Module) -> dict[str, Any]:
  """Describes a network in values that JSON has; `build` inverts it.

  Raises:
    ValueError: the module is not a registered backbone.
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
      for field in _options(type(module))
    },
  }


def build(description: Any) -> nn.Module:
  """Builds the network of a description.

  Args:
    description: a value read from JSON, which may be anything.

  Raises:
    UserError: it does not describe a network: fields are missing or unknown, or
      values have the wrong type or are out of range.
  """
  fields = ("model", "attn", "reduction", "scale", "normalization", "options")
  values = _mapping("the network", description)
  if missing := [name for name in fields if name not in values]:
    raise UserError(f"the network has no {', '.join(missing)}")
  model, attn, scale = values["model"], values["attn"], values["scale"]
  if not isinstance(model, str):
    raise UserError(f"model is {model!r}, not a name")
  if not isinstance(attn, str) or attn not in ATTENTIONS:
    raise UserError(f"unknown attention {attn!r}")
  if type(scale) is not int or scale not in SCALES:
    raise UserError(f"unknown scale {scale!r}")
  _check("reduction", values["reduction"], 1)
  kind = backbone(model).module
  defaults = {field.name: field.default for field in _options(kind)}
  options = _mapping("options", values["options"])
  if unknown := sorted(options.keys() - defaults):
    raise UserError(f"{model} has no {', '.join(unknown)}")
  options = {key: _tuples(value) for key, value in options.items()}
  for name, value in options.items():
    _check(name, value, defaults[name])
  return kind(
    scale=scale,
    attention=Attention(attn, values["reduction"]),
    normalization=_normalization(values["normalization"]),
    **options,
  )


def _options(kind: type[nn.Module]) -> list[dataclasses.Field]:
  """Fields of a backbone that are hyper-parameters of its weights."""
  return [f for f in dataclasses.fields(kind) if f.name not in _APART]


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
  if not isinstance(value, Mapping):
    raise UserError(f"{name} is a {type(value).__name__}, not an object")
  return value


def _normalization(description: Any) -> Normalization:
  """Builds a normalization, or raises UserError."""
  found = _mapping("normalization", description)
  values = {name: _tuples(value) for name, value in found.items()}
  kind = Affine if "matrix_in" in values else Normalization
  if values.keys() != {field.name for field in dataclasses.fields(kind)}:
    raise UserError(
      f"normalization has unexpected fields: {', '.join(values) or 'none'}"
    )
  for name, value in values.items():
    if not _has_numbers(value, _SHAPES[name.partition("_")[0]]):
      raise UserError(f"{name} is {str(value)[:60]}, not finite numbers")
  if values["gain"] <= 0:
    raise UserError(f"gain is {values['gain']}, not positive")
  return kind(**values)


def _has_numbers(value: Any, shape: tuple[int, ...]) -> bool:
  """Whether it is nested tuples of finite numbers, of this shape."""
  if shape:
    return (
      isinstance(value, tuple)
      and len(value) == shape[0]
      and all(_has_numbers(part, shape[1:]) for part in value)
    )
  return type(value) in (int, float) and math.isfinite(value)


def _check(name: str, value: Any, default: Any) -> None:
  """Raises UserError if a value can't replace its default."""
  values = value if isinstance(default, tuple) else (value,)
  if isinstance(default, bool):
    fits = type(value) is bool
  elif isinstance(default, float):
    fits = _has_numbers(value, ())
  else:
    fits = isinstance(values, tuple) and 0 < len(values) <= _LARGEST
    fits = fits and all(
      type(one) is int and 1 <= one <= _LARGEST for one in values
    )
  if not fits:
    raise UserError(f"{name} can't be {str(value)[:60]}")


def _tuples(value: Any) -> Any:
  """JSON's lists as tuples, nested ones included."""
  return tuple(map(_tuples, value)) if isinstance(value, list) else value
