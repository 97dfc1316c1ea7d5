"""Reads files of PyTorch tensors as mappings of names to float32 arrays."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import math
import os
from pathlib import Path
import pickle
import re
from typing import Any
import zipfile

import jax.numpy as jnp
import numpy as np

from bamjax.errors import require
from bamjax.errors import UserError
from bamjax.weights import wrappers

SUFFIXES = (".safetensors", ".npz", ".pth", ".pt")

# More numbers than any network here has: EDSR, the largest, has 43 million.
_NUMBERS = 2**30
# Names that an error lists.
_LISTED = 8

# Files that are not weights but often found in their place, by their first
# bytes.
_OTHERS = (
  (
    rb"version https://git-lfs",
    "a Git LFS pointer, not the weights themselves; run `git lfs pull`",
  ),
  (
    rb"[./\w]*/annex/objects/",
    "a git-annex pointer, not the weights themselves; run `git annex get`",
  ),
  (
    rb"(?i)\s*(<!doctype html|<html|<head|<\?xml)",
    "a web page, not weights; download the file that the page links to",
  ),
  (
    rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd",
    "a compressed archive; unpack it and use the weights inside",
  ),
  (
    rb"\x93NUMPY",
    "a single NumPy array, not named tensors; save a dictionary of arrays with"
    " numpy.savez",
  ),
  (rb"\x89HDF", "an HDF5 (Keras) file, which is not supported"),
  (rb"GGUF", "a GGUF file, which is not supported"),
)
_SUPPORTED = "supported are safetensors, .npz and PyTorch files"
_PICKLE = re.compile(rb"\x80[\x02-\x05]")

# Limit on an archive's unpacked size: 1 GiB, or four times its packed size if
# that is larger. Weights hardly compress.
_EXPANDED = 2**30


def read(path: str | os.PathLike[str]) -> Mapping[str, Any]:
  """Reads a file's content as it is: names to arrays, wrappers included.

  The format is detected from the content; the file's name does not matter.

  Args:
    path: a file in the format of safetensors, NumPy (.npz) or PyTorch. PyTorch
      files are read by torch with `weights_only=True`: no code in them runs.

  Raises:
    UserError: the file is missing, damaged or in another format, or it needs
      torch, which is not installed.
  """
  path = Path(path)
  if path.is_dir():
    raise UserError(f"{path}: a folder, not a file")
  if not path.exists():
    raise UserError(f"{path}: no such file")
  if not path.is_file():
    raise UserError(f"{path}: not a regular file")
  readers = {"safetensors": _read_safetensors, "npz": _read_npz}
  kind = ""
  try:
    kind = _kind_of(path)
    reader = readers.get(kind) or _torch_reader(path)
    content = reader(path)
  except UserError:
    raise
  # ImportError: a reader's own packages are incomplete.
  except (OSError, ImportError) as error:
    reason = getattr(error, "strerror", None) or error
    raise UserError(f"{path}: cannot be read: {reason}") from error
  # Damaged bytes can raise nearly anything in these readers, including
  # KeyError, IndexError and struct.error.
  except Exception as error:
    name = {"npz": ".npz", "torch": "PyTorch"}.get(kind, kind)
    message = f"{path}: not a readable {name} file: {_reason(error)}"
    raise UserError(message) from error
  if not isinstance(content, Mapping):
    raise UserError(
      f"{path}: contains a {type(content).__name__}, not named tensors"
    )
  return content


def _kind_of(path: Path) -> str:
  """Detects a file's format.

  Returns:
    "safetensors", "npz" or "torch".

  Raises:
    UserError: it is something else, which the message names, or a ZIP archive
      that would expand to an implausible size.
    OSError: the file cannot be read.
  """
  with open(path, "rb") as file:
    head = file.read(512)
  if not head:
    raise UserError(f"{path}: the file is empty; download it again")
  for pattern, what in _OTHERS:
    if re.match(pattern, head):
      raise UserError(f"{path}: {what}")
  if head[257:262] == b"ustar":
    raise UserError(
      f"{path}: a tar archive; unpack it and use the weights inside"
    )
  if head.startswith(b"PK"):
    return _zip_kind(path)
  if _PICKLE.match(head):
    return "torch"
  # Safetensors begins with the length of its JSON header, 8 bytes.
  if head[8:9] == b"{" and head[6:8] == b"\0\0":
    return "safetensors"
  try:
    words = head.decode().split()
  except UnicodeDecodeError:
    words = []
  if words and all(word.isprintable() for word in words):
    start = " ".join(words)[:60]
    raise UserError(
      f"{path}: a text file, not weights; it starts with {start!r}"
    )
  raise UserError(f"{path}: not weights, or damaged; {_SUPPORTED}")


def _zip_kind(path: Path) -> str:
  """Tells .npz from PyTorch's ZIP files by the members' names."""
  try:
    with zipfile.ZipFile(path) as archive:
      members = archive.infolist()
  # Damaged archives raise more than BadZipFile.
  except Exception as error:
    reason = " ".join(str(error).split())[:200]
    raise UserError(
      f"{path}: incomplete or damaged ({reason}); download it again"
    ) from error
  expanded = sum(member.file_size for member in members)
  size = path.stat().st_size
  if expanded > max(_EXPANDED, 4 * size):
    raise UserError(
      f"{path}: {size:,} bytes would expand to {expanded:,}, which no weights"
      " would"
    )
  names = [member.filename for member in members]
  if any(name.endswith("constants.pkl") for name in names):
    raise UserError(
      f"{path}: a TorchScript program, not weights; save the state_dict() of"
      " its module"
    )
  if any(name.endswith("data.pkl") for name in names):
    return "torch"
  if any(name.endswith(".npy") for name in names):
    return "npz"
  raise UserError(
    f"{path}: a ZIP archive without weights; unpack it and use those inside"
  )


def _reason(error: Exception) -> str:
  """The cause of an error, without torch's advice to run the file's code."""
  text = " ".join(str(error).split())
  if isinstance(error, pickle.UnpicklingError):
    found = re.search(r"GLOBAL (\S+)", text)
    what = found[1] if found else "more"
    return (
      f"it contains {what} besides tensors, or is damaged; save only the"
      " module's state_dict()"
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
  """Checks an array's header against its size, before memory is allocated."""
  with archive.open(member) as file:
    if member.filename.endswith(".npy"):
      version = np.lib.format.read_magic(file)
      first = version == (1, 0)
      header = "read_array_header_1_0" if first else "read_array_header_2_0"
      shape, _, dtype = getattr(np.lib.format, header)(file)
      name = member.filename.removesuffix(".npy")
      if dtype.hasobject:
        raise ValueError(f"{name} contains Python objects, not numbers")
      stored = member.file_size - file.tell()
      if (declared := dtype.itemsize * _size(shape)) > stored:
        raise ValueError(
          f"{name} has {stored:,} bytes, but its header declares {declared:,}"
        )


def _size(shape: Iterable[int]) -> int:
  return math.prod(map(int, shape))


def _torch_reader(path: Path) -> Callable[[Path], Any]:
  require(f"{path}: reading a PyTorch file", "torch", extra="torch")
  import torch

  def read_torch(path: Path) -> Any:
    # Given a path, torch would choose the format by the suffix.
    with open(path, "rb") as file:
      return torch.load(file, map_location="cpu", weights_only=True)

  return read_torch


def unwrap(
  content: Mapping[str, Any], source: str = "these weights"
) -> dict[str, np.ndarray]:
  """Strips wrappers and prefixes: plain PyTorch names to float32 arrays.

  Args:
    content: names to arrays (NumPy's, JAX's or PyTorch's) of floating-point
      numbers. They may be inside `params_ema`, `params`, `state_dict` and the
      like (a dictionary, or a prefix of all names), inside a dictionary of any
      name if it is the only one with weights, or all prefixed with `module.`.
      What else a training script saves (step, optimizer, …) is ignored.
    source: name of the source, for messages.

  Raises:
    UserError: an entry is not an array of floating-point numbers, is NaN or
      infinite as float32, or there are weights of several networks.
  """
  content = wrappers.strip(content, source)
  count = sum(_size(getattr(v, "shape", ())) for v in content.values())
  if count > _NUMBERS:
    raise UserError(
      f"{count:,} numbers, more than any supported network has; pass only the"
      " weights"
    )
  arrays = {name: _array(name, value) for name, value in content.items()}
  check_finite(arrays)
  return arrays


def check_finite(arrays: Mapping[str, Any]) -> None:
  """Checks arrays, by name, for NaN and infinity.

  Raises:
    UserError: an array has such a value; the message lists the names.
  """
  odd = [name for name, array in arrays.items() if not np.isfinite(array).all()]
  if odd:
    more = len(odd) - _LISTED
    raise UserError(
      f"NaN or infinite numbers in {', '.join(odd[:_LISTED])}"
      f"{f' and {more} more' if more > 0 else ''}; the file is damaged, or the"
      " training diverged"
    )


def _array(name: str, value: Any) -> np.ndarray:
  """One tensor as a float32 array."""
  if hasattr(value, "detach"):
    value = _from_torch(name, value)
  try:
    array = np.asarray(value)
  except ValueError:  # a ragged list
    array = np.asarray(None)
  if jnp.issubdtype(array.dtype, jnp.floating):
    # What overflows float32 becomes infinite, which `check_finite` reports.
    with np.errstate(over="ignore"):
      return array.astype(np.float32)
  if array.dtype == bool or jnp.issubdtype(array.dtype, jnp.integer):
    raise UserError(f"{name} holds {array.dtype}, not floating-point numbers")
  raise UserError(
    f"{name} is a {type(value).__name__}, not an array of real numbers"
  )


def _from_torch(name: str, tensor: Any) -> np.ndarray:
  """A PyTorch tensor, of any dtype that torch has, as a NumPy array."""
  tensor = tensor.detach()
  if str(tensor.layout) != "torch.strided" or tensor.is_meta:
    raise UserError(f"{name} is a sparse tensor, or one without data")
  if tensor.is_quantized:
    raise UserError(
      f"{name} is quantized; only floating-point tensors are supported"
    )
  held = tensor.untyped_storage().nbytes() // tensor.element_size()
  # With a stride of 0, one stored number fills a shape of any size.
  if tensor.numel() > held:
    raise UserError(
      f"{name} has the shape of {tensor.numel():,} numbers, but stores only"
      f" {held:,}"
    )
  tensor = tensor.cpu()
  return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
