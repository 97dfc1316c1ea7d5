"""Finds one network's weights in what a training script saves around them."""

from collections.abc import Mapping
import logging
from typing import Any

import jax.numpy as jnp

from bamjax.errors import UserError

_logger = logging.getLogger(__name__)

# Wrappers around the tensors, each a dictionary or a prefix of their names, in
# order of preference; and the wrappers that each is preferred to. A moving
# average comes first: it is what authors publish and evaluate.
_NETWORKS = ("params", "state_dict", "model_state_dict", "model")
_GENERATORS = ("generator", "net_g", "netG")
_OTHERS = ("discriminator", "net_d", "netD")
_WRAPPERS: dict[str, tuple[str, ...]] = {
  "params_ema": ("params",),
  "generator_ema": ("generator", *_OTHERS),
  "state_dict_ema": ("state_dict",),
  "model_ema": ("model",),
  "ema": (*_NETWORKS, *_GENERATORS),
  **dict.fromkeys(_NETWORKS, ()),
  **dict.fromkeys(_GENERATORS, _OTHERS),
  # Added by data parallelism and by torch.compile.
  "module": (),
  "_orig_mod": (),
}
_FIRST = {*_WRAPPERS, *_OTHERS}
# Maximum number of nested wrappers.
_DEPTH = 6
# Names that an error lists.
_LISTED = 8
_ADVICE = "save the state_dict of one network alone"


def strip(content: Mapping[Any, Any], source: str) -> Mapping[str, Any]:
  """Unwraps the weights and strips prefixes from their names.

  Args:
    content: names to arrays, nested dictionaries of arrays, and anything else
      that a training script saves (step, optimizer, …), which is ignored.
    source: name of the source, for warnings.

  Returns:
    PyTorch's tensor names to arrays.

  Raises:
    UserError: there are weights of several networks, there are none, or the
      wrappers are nested too deeply.
  """
  for _ in range(_DEPTH + 1):
    content = _nested(content)
    inner = [key for key in _WRAPPERS if _holds_weights(content.get(key))]
    inner = inner or _of_other_names(content, source)
    if not inner:
      break
    content = _take(content, inner[0], source)
  else:
    raise UserError(f"dictionaries are nested too deeply; {_ADVICE}")
  for key in content:
    if not isinstance(key, str):
      raise UserError(f"{key!r} is not the name of a tensor")
  if not any(map(_is_weight, content.values())):
    for key, value in content.items():
      if isinstance(value, Mapping):
        raise UserError(
          f"{key} is a {type(value).__name__} without floating-point tensors;"
          f" {_ADVICE}"
        )
  return content


def _of_other_names(content: Mapping[Any, Any], source: str) -> list[Any]:
  """The key of the only dictionary of weights, whatever its name."""
  inner = [key for key, value in content.items() if _holds_weights(value)]
  if len(inner) > 1:
    raise UserError(f"there are weights in each of {_listed(inner)}; {_ADVICE}")
  # If there are weights outside of it too, `_take` raises.
  if inner and not any(map(_is_weight, content.values())):
    _logger.warning(
      "%s: using the weights in %s, the only ones present", source, inner[0]
    )
  return inner


def _listed(names: list[Any]) -> str:
  more = ", …" if names[_LISTED:] else ""
  return ", ".join(map(str, names[:_LISTED])) + more


def _take(
  content: Mapping[Any, Any], taken: Any, source: str
) -> Mapping[Any, Any]:
  """The dictionary `taken`, if no weights that matter are outside of it."""
  outside = [
    key
    for key, value in content.items()
    if key != taken and (_is_weight(value) or _holds_weights(value))
  ]
  odd = [key for key in outside if key not in _WRAPPERS.get(taken, ())]
  if odd:
    raise UserError(
      f"there are weights in {taken}, but also in {_listed(odd)}; {_ADVICE}"
    )
  if outside:
    _logger.warning(
      "%s: using the weights in %s, not those in %s",
      source,
      taken,
      ", ".join(outside),
    )
  return content[taken]


def _nested(content: Mapping[Any, Any]) -> Mapping[Any, Any]:
  """Turns prefixes into dictionaries, if every weight's name has one."""
  parts = {
    key: key.partition(".")[::2]
    for key in content
    if isinstance(key, str) and key.partition(".")[0] in _FIRST and "." in key
  }
  firsts = {first for first, _ in parts.values()}
  weights = {key for key, value in content.items() if _is_weight(value)}
  # Without any weights, errors should show the names as they are.
  if not weights or not firsts.isdisjoint(content) or weights - parts.keys():
    return content
  nested = {key: value for key, value in content.items() if key not in parts}
  for key, (first, rest) in parts.items():
    nested.setdefault(first, {})[rest] = content[key]
  return nested


def _is_weight(value: Any) -> bool:
  """Whether it is an array of floating-point numbers, scalars excluded."""
  if not getattr(value, "ndim", 0):
    return False
  if hasattr(value, "detach"):  # a PyTorch tensor
    return value.is_floating_point()
  return jnp.issubdtype(value.dtype, jnp.floating)


def _holds_weights(value: Any, depth: int = _DEPTH) -> bool:
  """Whether it is a dictionary of weights, directly or inside wrappers."""
  if not isinstance(value, Mapping):
    return False
  if any(map(_is_weight, value.values())):
    return True
  inner = [value[key] for key in _WRAPPERS if key in value]
  # One dictionary under several keys is searched once.
  unique = {id(item): item for item in inner}.values()
  return any(depth > 0 and _holds_weights(item, depth - 1) for item in unique)
