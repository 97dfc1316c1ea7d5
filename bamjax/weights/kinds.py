"""Detects a weights file's format by its content, whatever its name."""

from pathlib import Path
import re
import zipfile

from bamjax.errors import UserError

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


def kind_of(path: Path) -> str:
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
