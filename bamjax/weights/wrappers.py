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
_ADVICE = "save the dictionary of one network alone"


def strip(content: Mapping[Any, Any], source: str) -> Mapping[str, Any]:
  """Takes the weights out of their wrappers, and prefixes off their names.

  Args:
    content: names to arrays, dictionaries of such, or what else a training
      script keeps beside them (step, optimizer, …), which is left.
    source: where it comes from, for what is said of it.

  Raises:
    UserError: there are other weights beside those that would be taken, there
      are none but dictionaries, or the wrappers stand inside each other without
      end.
  """
  for _ in range(_DEPTH + 1):
    content = _nested(content)
    inner = [key for key in _WRAPPERS if _holds_weights(content.get(key))]
    inner = inner or _of_other_names(content, source)
    if not inner:
      break
    content = _take(content, inner[0], source)
  else:
    raise UserError("dictionaries that stand too deep inside each other")
  for key in content:
    if not isinstance(key, str):
      raise UserError(f"{key!r} is not the name of a tensor")
  if not any(map(_is_weight, content.values())):
    for key, value in content.items():
      if isinstance(value, Mapping):
        raise UserError(
          f"{key} is a {type(value).__name__} that holds no floating-point"
          f" tensors itself; {_ADVICE}"
        )
  return content


def _of_other_names(content: Mapping[Any, Any], source: str) -> list[Any]:
  """The key of the only dictionary of weights, whatever its name is."""
  inner = [key for key, value in content.items() if _holds_weights(value)]
  if len(inner) > 1:
    raise UserError(f"there are weights in {_listed(inner)}; {_ADVICE}")
  # Said only if no weights beside them are refused.
  if inner and not any(map(_is_weight, content.values())):
    logging.warning(
      "%s: the weights in %s are taken, the only ones there", source, inner[0]
    )
  return inner


def _listed(names: list[Any]) -> str:
  more = ", …" if names[_LISTED:] else ""
  return ", ".join(map(str, names[:_LISTED])) + more


def _take(content: Mapping[Any, Any], taken: str, source: str):
  beside = [
    key
    for key, value in content.items()
    if key != taken and (_is_weight(value) or _holds_weights(value))
  ]
  odd = [key for key in beside if key not in _WRAPPERS.get(taken, ())]
  if odd:
    raise UserError(
      f"there are weights in {taken} and beside it, in {_listed(odd)};"
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
  weights = {key for key, value in content.items() if _is_weight(value)}
  # Without any, the names are told as they are.
  if not weights or not firsts.isdisjoint(content) or weights - parts.keys():
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
