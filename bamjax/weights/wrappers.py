"""The weights of one network, out of what a training script keeps of it."""

from collections.abc import Mapping
import logging
from typing import Any

import jax.numpy as jnp

from bamjax.errors import UserError

# What stands around the tensors, a dictionary or a prefix of their names, in
# the order in which it is taken; and what it is preferred to: where there is a
# moving average, it is what its authors publish and evaluate.
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
  # Of data parallelism and of torch.compile.
  "module": (),
  "_orig_mod": (),
}
_FIRST = {*_WRAPPERS, *_OTHERS}
# So many stand inside each other at most.
_DEPTH = 6
# Names that an error lists.
_LISTED = 8


def strip(content: Mapping[Any, Any], source: str) -> Mapping[str, Any]:
  """Takes the weights out of their wrappers, and prefixes off their names.

  Args:
    content: names to arrays, dictionaries of such, or what else a training
      script keeps beside them (step, optimizer, …), which is left.
    source: where it comes from, for what is said of it.

  Raises:
    UserError: there are other weights beside those that would be taken, or the
      wrappers stand inside each other without end.
  """
  for _ in range(_DEPTH + 1):
    content = _nested(content)
    inner = [key for key in _WRAPPERS if _holds_weights(content.get(key))]
    if not inner:
      break
    content = _take(content, inner[0], source)
  else:
    raise UserError("dictionaries that stand too deep inside each other")
  for key in content:
    if not isinstance(key, str):
      raise UserError(f"{key!r} is not the name of a tensor")
  return content


def _take(content: Mapping[Any, Any], taken: str, source: str):
  beside = [
    str(key)
    for key, value in content.items()
    if key != taken and (_is_weight(value) or _holds_weights(value))
  ]
  odd = [key for key in beside if key not in _WRAPPERS[taken]]
  if odd:
    raise UserError(
      f"there are weights in {taken} and beside it, in"
      f" {', '.join(odd[:_LISTED])}{', …' if odd[_LISTED:] else ''};"
      " pass those of one network, as a mapping"
    )
  if beside:
    logging.warning(
      "%s: the weights in %s are taken, not those in %s",
      source,
      taken,
      ", ".join(beside),
    )
  return content[taken]


def _nested(content: Mapping[Any, Any]) -> Mapping[Any, Any]:
  """Makes dictionaries of prefixes, if all weights' names have one."""
  parts = {
    key: key.partition(".")[::2]
    for key in content
    if isinstance(key, str) and key.partition(".")[0] in _FIRST and "." in key
  }
  firsts = {first for first, _ in parts.values()}
  if not firsts.isdisjoint(content) or not all(
    key in parts for key, value in content.items() if _is_weight(value)
  ):
    return content
  nested = {key: value for key, value in content.items() if key not in parts}
  for key, (first, rest) in parts.items():
    nested.setdefault(first, {})[rest] = content[key]
  return nested


def _is_weight(value: Any) -> bool:
  """Whether it is an array of floating-point numbers, not a single one."""
  if not getattr(value, "ndim", 0):
    return False
  if hasattr(value, "detach"):  # a PyTorch tensor
    return value.is_floating_point()
  return jnp.issubdtype(value.dtype, jnp.floating)


def _holds_weights(value: Any, depth: int = _DEPTH) -> bool:
  """Whether it is a dictionary of weights, inside wrappers or not."""
  if not isinstance(value, Mapping):
    return False
  if any(map(_is_weight, value.values())):
    return True
  inner = [value[key] for key in _WRAPPERS if key in value]
  # One dictionary under several names is looked into once.
  inner = {id(item): item for item in inner}.values()
  return any(depth > 0 and _holds_weights(item, depth - 1) for item in inner)
