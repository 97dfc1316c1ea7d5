"""Files of PyTorch tensors, read as mappings of names to float32 arrays."""

from collections.abc import Callable
from collections.abc import Mapping
import functools
import os
from pathlib import Path
import pickle
import re
from typing import Any
import zipfile

import jax.numpy as jnp
import numpy as np

from bamjax.errors import UserError
from bamjax.weights import kinds
from bamjax.weights import wrappers

SUFFIXES = (".safetensors", ".npz", ".pth", ".pt")

# More numbers than any network here has: EDSR, the largest, has 43 million.
_NUMBERS = 2**30
# Names that an error lists.
_LISTED = 8


def read(path: str | os.PathLike) -> Mapping[str, Any]:
  """Reads a file as it is: names to arrays, wrappers included.

  What it is, its bytes tell, whatever it is named.

  Args:
    path: a file of safetensors, of NumPy (.npz) or of PyTorch. The last is read
      by torch, with `weights_only=True`: no code in the file runs.

  Raises:
    UserError: there is no such file, it is of another kind or damaged, or torch
      is needed and absent.
  """
  path = Path(path)
  if path.is_dir():
    raise UserError(f"{path}: a folder, not a file")
  if not path.exists():
    raise UserError(f"{path}: no such file")
  if not path.is_file():
    raise UserError(f"{path}: not a file")
  readers = {"safetensors": _read_safetensors, "npz": _read_npz}
  kind = ""
  try:
    kind = kinds.kind_of(path)
    reader = readers.get(kind) or _torch_reader(path)
    content = reader(path)
  except UserError:
    raise
  except OSError as error:
    reason = error.strerror or error
    raise UserError(f"{path}: cannot be read: {reason}") from error
  # Damaged bytes can raise nearly anything in these readers, KeyError,
  # IndexError and struct.error included.
  except Exception as error:
    named = {"npz": ".npz", "torch": "PyTorch"}.get(kind, kind)
    message = f"{path}: not a readable {named} file: {_reason(error)}"
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


def _read_npz(path: Path) -> Mapping[str, np.ndarray]:
  with zipfile.ZipFile(path) as archive:
    for member in archive.infolist():
      _check_npy(archive, member)
  with np.load(path, allow_pickle=False) as arrays:
    return dict(arrays)


def _check_npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
  """Compares an array's header with its bytes, before there is an array."""
  with archive.open(member) as file:
    if member.filename.endswith(".npy"):
      version = np.lib.format.read_magic(file)
      first = version == (1, 0)
      header = "read_array_header_1_0" if first else "read_array_header_2_0"
      shape, _, dtype = getattr(np.lib.format, header)(file)
      name = member.filename.removesuffix(".npy")
      if dtype.hasobject:
        raise ValueError(f"{name} holds objects of Python, not numbers")
      held = member.file_size - file.tell()
      if (told := dtype.itemsize * _size(shape)) > held:
        raise ValueError(f"{name} has {held:,} bytes where {told:,} are told")


def _size(shape) -> int:
  return functools.reduce(lambda a, b: a * b, map(int, shape), 1)


def _torch_reader(path: Path) -> Callable[[Path], Any]:
  try:
    import torch
  except ImportError as error:
    raise UserError(
      f"{path}: reading PyTorch's files needs PyTorch, which is not installed:"
      " pip install torch"
    ) from error

  def read_torch(path):
    # Of a path, torch would go by the suffix.
    with open(path, "rb") as file:
      return torch.load(file, map_location="cpu", weights_only=True)

  return read_torch


def unwrap(
  content: Mapping[str, Any], source: str = "these weights"
) -> dict[str, np.ndarray]:
  """Strips wrappers and prefixes: plain PyTorch names to float32 arrays.

  Args:
    content: names to arrays (NumPy's, JAX's or PyTorch's) of floating-point
      numbers, possibly inside `params_ema`, `params`, `state_dict` and the like
      (a dictionary, or a prefix of all names) or in the only dictionary of such
      under another name, possibly all beginning with `module.`. What else a
      training script keeps beside them (step, optimizer, …) is left.
    source: where they come from, for what is said of them.

  Raises:
    UserError: something in it is not an array of floating-point numbers, one of
      them is NaN or infinite as float32, or there are other weights beside
      those that would be taken.
  """
  content = wrappers.strip(content, source)
  count = sum(_size(getattr(v, "shape", ())) for v in content.values())
  if count > _NUMBERS:
    raise UserError(
      f"{count:,} numbers, more than any network here has; pass the weights"
      " alone"
    )
  arrays = {name: _array(name, value) for name, value in content.items()}
  check_finite(arrays)
  return arrays


def check_finite(arrays: Mapping[str, np.ndarray]) -> None:
  """Raises UserError for arrays with NaN or infinity in them, by name."""
  odd = [name for name, array in arrays.items() if not np.isfinite(array).all()]
  if odd:
    more = len(odd) - _LISTED
    raise UserError(
      f"NaN or infinite numbers in {', '.join(odd[:_LISTED])}"
      f"{f' and {more} more' if more > 0 else ''}; the file is damaged, or the"
      " training diverged"
    )


def _array(name: str, value: Any) -> np.ndarray:
  if hasattr(value, "detach"):
    value = _from_torch(name, value)
  try:
    array = np.asarray(value)
  except ValueError:  # a ragged list
    array = np.asarray(None)
  if jnp.issubdtype(array.dtype, jnp.floating):
    # Beyond float32's range is infinite, which is refused.
    with np.errstate(over="ignore"):
      return array.astype(np.float32)
  if array.dtype == bool or jnp.issubdtype(array.dtype, jnp.integer):
    raise UserError(
      f"{name} holds {array.dtype}, not floating-point numbers as weights are"
    )
  raise UserError(
    f"{name} is a {type(value).__name__}, not an array of real numbers"
  )


def _from_torch(name: str, tensor: Any) -> Any:
  """A PyTorch tensor, maybe of a dtype of its own, as NumPy's array."""
  tensor = tensor.detach()
  if str(tensor.layout) != "torch.strided" or tensor.is_meta:
    raise UserError(f"{name} is a tensor without numbers, or a sparse one")
  if tensor.is_quantized:
    raise UserError(f"{name} is quantized; floating-point numbers are read")
  held = tensor.untyped_storage().nbytes() // tensor.element_size()
  # With a stride of 0, one number stands for as many as its shape says.
  if tensor.numel() > held:
    raise UserError(
      f"{name} says that it holds {tensor.numel():,} numbers, and holds"
      f" {held:,}"
    )
  tensor = tensor.cpu()
  return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
