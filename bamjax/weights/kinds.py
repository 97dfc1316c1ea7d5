"""What a file is, by its bytes and not by its name."""

from pathlib import Path
import re
import zipfile

from bamjax.errors import UserError

# What takes the place of a file that was not downloaded, and other files that
# are given for weights.
_OTHERS = (
  (
    rb"version https://git-lfs",
    "a Git LFS pointer, not the file itself: git lfs pull fetches that",
  ),
  (
    rb"[./\w]*/annex/objects/",
    "a git-annex pointer, not the file itself: git annex get fetches that",
  ),
  (
    rb"(?i)\s*(<!doctype html|<html|<head|<\?xml)",
    "a web page, not weights: download the file that its link leads to",
  ),
  (
    rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd",
    "an archive: unpack the file of weights that it holds",
  ),
  (rb"\x93NUMPY", "holds a ndarray, not named tensors"),
  (rb"\x89HDF", "an HDF5 file, as Keras writes it, which is not read"),
  (rb"GGUF", "a GGUF file, which is not read"),
)
_READ = "weights are read from safetensors, .npz and PyTorch's files"
_PICKLE = re.compile(rb"\x80[\x02-\x05]")

# Small files may grow to this; large ones, which are hardly compressed, to four
# times their size.
_EXPANDED = 2**30


def kind_of(path: Path) -> str:
  """Tells a file of weights: "safetensors", "npz" or "torch".

  Raises:
    UserError: it is something else, which is said; or a ZIP archive that
      would expand beyond all measure.
    OSError: it cannot be read.
  """
  with open(path, "rb") as file:
    head = file.read(512)
  if not head:
    raise UserError(f"{path}: the file is empty")
  for pattern, what in _OTHERS:
    if re.match(pattern, head):
      raise UserError(f"{path}: {what}")
  if head[257:262] == b"ustar":
    raise UserError(f"{path}: an archive: unpack the weights that it holds")
  if head.startswith(b"PK"):
    return _zip_kind(path)
  if _PICKLE.match(head):
    return "torch"
  # The header's length, then the header.
  if head[8:9] == b"{" and head[6:8] == b"\0\0":
    return "safetensors"
  try:
    text = head.decode().split()
  except UnicodeDecodeError:
    text = ()
  if text and all(word.isprintable() for word in text):
    said = " ".join(text)[:60]
    raise UserError(f"{path}: a text, not weights; it begins {said!r}")
  raise UserError(f"{path}: no weights, or damaged; {_READ}")


def _zip_kind(path: Path) -> str:
  try:
    with zipfile.ZipFile(path) as archive:
      members = archive.infolist()
  # Damaged archives raise more than BadZipFile.
  except Exception as error:
    raise UserError(
      f"{path}: cut off or damaged: {' '.join(str(error).split())[:200]}"
    ) from error
  expanded = sum(member.file_size for member in members)
  size = path.stat().st_size
  if expanded > max(_EXPANDED, 4 * size):
    raise UserError(
      f"{path}: {size:,} bytes that would expand to {expanded:,}; no weights"
      " are so"
    )
  names = [member.filename for member in members]
  if any(name.endswith("constants.pkl") for name in names):
    raise UserError(
      f"{path}: a TorchScript program; save the state_dict() of its module"
    )
  if any(name.endswith("data.pkl") for name in names):
    return "torch"
  if any(name.endswith(".npy") for name in names):
    return "npz"
  raise UserError(f"{path}: a ZIP archive that holds no weights; unpack it")
