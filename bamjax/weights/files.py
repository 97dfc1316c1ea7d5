"""Files of PyTorch tensors, read as mappings of names to float32 arrays."""

from collections.abc import Mapping
import os
from pathlib import Path
import pickle
from typing import Any
import zipfile

import numpy as np

from bamjax.errors import UserError

SUFFIXES = (".safetensors", ".npz", ".pth", ".pt")

# A training script's dictionary around the tensors. Where BasicSR has both, the
# moving average is what it publishes and evaluates.
_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model")
# What data parallelism, a wrapping module or a flattened wrapper puts first.
_PREFIXES = ("module", "model", "generator", *_WRAPPERS)


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
  if path.suffix not in SUFFIXES:
    raise UserError(
      f"{path}: unknown kind of file; weights are read from"
      f" {', '.join(SUFFIXES)}"
    )
  if not path.is_file():
    raise UserError(f"{path}: no such file")
  reader = {".safetensors": _read_safetensors, ".npz": _read_npz}
  return reader.get(path.suffix, _read_torch)(path)


def _unreadable(path: Path, error: Exception) -> UserError:
  reason = " ".join(str(error).split())[:200]
  return UserError(f"{path}: not a readable {path.suffix} file: {reason}")


def _read_safetensors(path: Path) -> Mapping[str, np.ndarray]:
  import safetensors
  import safetensors.numpy

  try:
    return safetensors.numpy.load_file(path)
  except (safetensors.SafetensorError, KeyError, TypeError, OSError) as error:
    raise _unreadable(path, error) from error


def _read_npz(path: Path) -> Mapping[str, np.ndarray]:
  try:
    with np.load(path, allow_pickle=False) as arrays:
      return dict(arrays)
  except (ValueError, OSError, EOFError, AttributeError) as error:
    raise _unreadable(path, error) from error
  except (TypeError, zipfile.BadZipFile) as error:
    raise _unreadable(path, error) from error


def _read_torch(path: Path) -> Mapping[str, Any]:
  try:
    import torch
  except ImportError as error:
    raise UserError(
      f"{path}: reading {path.suffix} files needs PyTorch, which is not"
      " installed: pip install torch"
    ) from error
  try:
    content = torch.load(path, map_location="cpu", weights_only=True)
  except (RuntimeError, pickle.UnpicklingError, EOFError, OSError) as error:
    raise _unreadable(path, error) from error
  if not isinstance(content, Mapping):
    raise UserError(
      f"{path}: holds a {type(content).__name__}, not named tensors"
    )
  return content


def unwrap(content: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Strips wrappers and prefixes: plain PyTorch names to float32 arrays.

  Args:
    content: names to arrays (NumPy's, JAX's or PyTorch's), possibly inside
      `params_ema`, `params`, `state_dict` and the like (a dictionary, or a
      prefix of all names), possibly all beginning with `module.`.

  Raises:
    UserError: something in it is not an array of numbers.
  """
  while inner := [
    key for key in _WRAPPERS if isinstance(content.get(key), Mapping)
  ]:
    content = content[inner[0]]
  while prefix := _common_prefix(content):
    content = {key.removeprefix(prefix): content[key] for key in content}
  return {name: _array(name, value) for name, value in content.items()}


def _common_prefix(content: Mapping[str, Any]) -> str | None:
  for prefix in _PREFIXES:
    if content and all(key.startswith(f"{prefix}.") for key in content):
      return f"{prefix}."
  return None


def _array(name: str, value: Any) -> np.ndarray:
  if hasattr(value, "detach"):  # a PyTorch tensor
    value = value.detach().cpu().float().numpy()
  try:
    return np.asarray(value).astype(np.float32)
  except (TypeError, ValueError) as error:
    raise UserError(
      f"{name} is a {type(value).__name__}, not an array of numbers"
    ) from error
