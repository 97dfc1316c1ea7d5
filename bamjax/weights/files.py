"""Files of PyTorch tensors, read as mappings of names to float32 arrays."""

from collections.abc import Callable
from collections.abc import Mapping
import functools
import os
from pathlib import Path
import pickle
import re
from typing import Any

import jax.numpy as jnp
import numpy as np

from bamjax.errors import UserError

SUFFIXES = (".safetensors", ".npz", ".pth", ".pt")

# A training script's dictionary around the tensors. Where BasicSR has both, the
# moving average is what it publishes and evaluates.
_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model")
_OUTDONE = {"params_ema": ("params",)}
# What data parallelism, a wrapping module or a flattened wrapper puts first.
_PREFIXES = ("module", "model", "generator", *_WRAPPERS)
# Names that an error lists.
_LISTED = 8


def read(path: str | os.PathLike) -> Mapping[str, Any]:
  """Reads a file as it is: names to arrays, wrappers included.

  Args:
    path: a .safetensors, .npz, .pth or .pt file. The last two are read by
      torch, with `weights_only=True`: no code in the file runs.

  Raises:
    UserError: there is no such file, its kind is unknown, its content is not
      what its name says, or torch is needed and absent.
  """
  path = Path(path)
  suffix = path.suffix.lower()
  if suffix not in SUFFIXES:
    raise UserError(
      f"{path}: unknown kind of file; weights are read from"
      f" {', '.join(SUFFIXES)}"
    )
  if path.is_dir():
    raise UserError(f"{path}: a folder, not a file")
  if not path.is_file():
    raise UserError(f"{path}: no such file")
  readers = {".safetensors": _read_safetensors, ".npz": _read_npz}
  reader = readers.get(suffix) or _torch_reader(path)
  try:
    content = reader(path)
  # Damaged bytes can raise nearly anything in these readers, KeyError,
  # IndexError and struct.error included.
  except Exception as error:
    message = f"{path}: not a readable {suffix} file: {_reason(error)}"
    raise UserError(message) from error
  if not isinstance(content, Mapping):
    raise UserError(
      f"{path}: holds a {type(content).__name__}, not named tensors"
    )
  return content


def _reason(error: Exception) -> str:
  """What went wrong, without torch's advice to run the code in the file."""
  text = " ".join(str(error).split())
  if isinstance(error, pickle.UnpicklingError):
    found = re.search(r"GLOBAL (\S+)", text)
    what = found[1] if found else "more"
    return (
      f"it holds {what} besides tensors, or is damaged; of a PyTorch module,"
      " save the state_dict() alone"
    )
  return text.partition(" In PyTorch 2.6")[0][:200] or type(error).__name__


def _read_safetensors(path: Path) -> Mapping[str, np.ndarray]:
  import safetensors.numpy

  return safetensors.numpy.load_file(path)


def _read_npz(path: Path) -> Mapping[str, np.ndarray] | np.ndarray:
  with open(path, "rb") as file:
    arrays = np.load(file, allow_pickle=False)
    return arrays if isinstance(arrays, np.ndarray) else dict(arrays)


def _torch_reader(path: Path) -> Callable[[Path], Any]:
  try:
    import torch
  except ImportError as error:
    raise UserError(
      f"{path}: reading {path.suffix} files needs PyTorch, which is not"
      " installed: pip install torch"
    ) from error
  return functools.partial(torch.load, map_location="cpu", weights_only=True)


def unwrap(content: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Strips wrappers and prefixes: plain PyTorch names to float32 arrays.

  Args:
    content: names to arrays (NumPy's, JAX's or PyTorch's), possibly inside
      `params_ema`, `params`, `state_dict` and the like (a dictionary, or a
      prefix of all names), possibly all beginning with `module.`. What else a
      training script keeps beside them (step, optimizer, …) is left.

  Raises:
    UserError: something in it is not an array of numbers, or there are other
      weights beside those that would be taken.
  """
  while inner := [key for key in _WRAPPERS if _holds_weights(content.get(key))]:
    taken = inner[0]
    beside = [
      str(key)
      for key, value in content.items()
      if (_is_weight(value) or _holds_weights(value))
      and key not in (taken, *_OUTDONE.get(taken, ()))
    ]
    if beside:
      raise UserError(
        f"there are weights in {taken} and beside it, in"
        f" {', '.join(beside[:_LISTED])}{', …' if beside[_LISTED:] else ''};"
        " pass those of one network, as a mapping"
      )
    content = content[taken]
  for key in content:
    if not isinstance(key, str):
      raise UserError(f"{key!r} is not the name of a tensor")
  while prefix := _common_prefix(content):
    content = {key.removeprefix(prefix): content[key] for key in content}
  return {name: _array(name, value) for name, value in content.items()}


def _is_weight(value: Any) -> bool:
  """Whether it is an array of floating-point numbers, not a single one."""
  if not getattr(value, "ndim", 0):
    return False
  if hasattr(value, "detach"):  # a PyTorch tensor
    return value.is_floating_point()
  return jnp.issubdtype(value.dtype, jnp.floating)


def _holds_weights(value: Any) -> bool:
  """Whether it is a dictionary of weights, inside wrappers or not."""
  return isinstance(value, Mapping) and (
    any(map(_is_weight, value.values()))
    or any(_holds_weights(value.get(key)) for key in _WRAPPERS)
  )


def _common_prefix(content: Mapping[str, Any]) -> str | None:
  for prefix in _PREFIXES:
    if content and all(key.startswith(f"{prefix}.") for key in content):
      return f"{prefix}."
  return None


def _array(name: str, value: Any) -> np.ndarray:
  if hasattr(value, "detach"):  # a PyTorch tensor, maybe of a dtype of its own
    value = value.detach().cpu()
    value = (value.float() if value.is_floating_point() else value).numpy()
  try:
    array = np.asarray(value)
  except ValueError:  # a ragged list
    array = np.asarray(None)
  if not any(
    jnp.issubdtype(array.dtype, kind)
    for kind in (jnp.floating, jnp.integer, jnp.bool_)
  ):
    raise UserError(
      f"{name} is a {type(value).__name__}, not an array of real numbers"
    )
  return array.astype(np.float32)
