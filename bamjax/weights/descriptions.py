"""A network in words that JSON knows, and the same network out of them."""

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

# Told apart from hyper-parameters, or no matter of the weights.
_APART = (
  *("parent", "name", "scale", "attention", "normalization"),
  *("dtype", "remat"),
)
# No width and no number of blocks of a network is larger.
_LARGEST = 2**16
# Of a normalization's fields.
_SHAPES = {"gain": (), "shift": (), "matrix": (3, 3), "offset": (3,)}


def describe(module: nn.Module) -> dict[str, Any]:
  """A network as JSON can tell it; `build` makes the same one again.

  Raises:
    ValueError: the module is not of a registered backbone.
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
  """The network that `describe` has told.

  Raises:
    UserError: it tells no network: fields are missing or unknown, or values are
      of another type or out of range.
  """
  fields = ("model", "attn", "reduction", "scale", "normalization", "options")
  told = _mapping("the network", description)
  if missing := [name for name in fields if name not in told]:
    raise UserError(f"the network has no {', '.join(missing)}")
  model, attn, scale = told["model"], told["attn"], told["scale"]
  if not isinstance(model, str):
    raise UserError(f"model is {model!r}, not a name")
  if not isinstance(attn, str) or attn not in ATTENTIONS:
    raise UserError(f"there is no attention {attn!r}")
  if type(scale) is not int or scale not in SCALES:
    raise UserError(f"there is no scale {scale!r}")
  _check("reduction", told["reduction"], 1)
  kind = backbone(model).module
  defaults = {field.name: field.default for field in _options(kind)}
  options = _mapping("options", told["options"])
  if unknown := sorted(options.keys() - defaults):
    raise UserError(f"{model} has no {', '.join(unknown)}")
  options = {key: _tuples(value) for key, value in options.items()}
  for name, value in options.items():
    _check(name, value, defaults[name])
  return kind(
    scale=scale,
    attention=Attention(attn, told["reduction"]),
    normalization=_normalization(told["normalization"]),
    **options,
  )


def _options(kind: type[nn.Module]) -> list[dataclasses.Field]:
  """Fields of a backbone that are hyper-parameters of its weights."""
  return [f for f in dataclasses.fields(kind) if f.name not in _APART]


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
  if not isinstance(value, Mapping):
    raise UserError(f"{name} is a {type(value).__name__}, not an object")
  return value


def _normalization(value: Any) -> Normalization:
  value = {k: _tuples(v) for k, v in _mapping("normalization", value).items()}
  # That of mean-shift layers which were trained along has more fields.
  kind = Affine if "matrix_in" in value else Normalization
  if value.keys() != {field.name for field in dataclasses.fields(kind)}:
    raise UserError(f"normalization has the fields {', '.join(value)}")
  for name, part in value.items():
    if not _has_numbers(part, _SHAPES[name.partition("_")[0]]):
      raise UserError(f"{name} is {str(part)[:60]}, not of finite numbers")
  if value["gain"] <= 0:
    raise UserError(f"gain is {value['gain']}, not above 0")
  return kind(**value)


def _has_numbers(value: Any, shape: tuple[int, ...]) -> bool:
  """Whether it is a tuple of tuples of finite numbers, of this shape."""
  if shape:
    return (
      isinstance(value, tuple)
      and len(value) == shape[0]
      and all(_has_numbers(part, shape[1:]) for part in value)
    )
  return type(value) in (int, float) and math.isfinite(value)


def _check(name: str, value: Any, default: Any) -> None:
  """Raises UserError for a value that is not of its default's type."""
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
    raise UserError(f"{name} is {str(value)[:60]}, which is no value of {name}")


def _tuples(value: Any) -> Any:
  """JSON's lists as tuples, inside each other too."""
  return tuple(map(_tuples, value)) if isinstance(value, list) else value
