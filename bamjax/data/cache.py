"""Decodes images once and keeps them in memory or in a memory-mapped file.

The file holds the images' pixels, an index, the index's length and a mark. A
truncated file lacks the mark and is rebuilt, as is a file whose index does not
list every image.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
import contextlib
import errno
import hashlib
import itertools
import json
import logging
import mmap
import os
from pathlib import Path
import re
import struct
from typing import TypeVar

import numpy as np

from bamjax.data.sources import ImagePair
from bamjax.data.sources import Pair
from bamjax.errors import UserError
from bamjax.files import identity
from bamjax.files import lock
from bamjax.files import open_lock
from bamjax.files import part_of
from bamjax.memory import host_memory

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")
# An image's number, and either its LR, HR and digest or the reading error.
_Loaded = tuple[int, tuple[Pair, str] | UserError]

_MARK = b"bamjax-2"
_TAIL = struct.Struct("<Q8s")  # length of the index, mark
# A part of a file: the file's name, and what `part_of` adds.
_PART = re.compile(r"\.([0-9a-f]{20})[0-9a-f]+\.images")
_WORKERS = min(8, os.cpu_count() or 1)
# The share of free memory that decoded images may use.
_SHARE = 0.5
# Mapped pages are released after this many patches. A patch touches the pages
# of all its rows, about 1 MB in DIV2K.
_RELEASE_EVERY = 256


class Decoded:
  """Decoded images.

  Attributes:
    names: the images' names.
    pairs: each image's LR, h×w×3, and HR, sh×sw×3, uint8.
    digests: each image's `digest`.
    left_out: one error message for each image that cannot be read.
  """

  def __init__(
    self,
    names: list[str],
    pairs: list[Pair],
    digests: list[str],
    left_out: list[str],
    mapping: mmap.mmap | None = None,
  ):
    self.names = names
    self.pairs = pairs
    self.digests = digests
    self.left_out = left_out
    self._mapping = mapping
    self._cut = 0

  @property
  def nbytes(self) -> int:
    """Size of all images in bytes."""
    return sum(lr.nbytes + hr.nbytes for lr, hr in self.pairs)

  @property
  def mapped(self) -> bool:
    """Whether the images are in a memory-mapped file."""
    return self._mapping is not None

  def count_cut(self, patches: int) -> None:
    """Counts patches, and releases a mapped file's pages now and then.

    The pages stay in the system's cache but no longer count as memory of this
    process.

    Args:
      patches: number of patches cut since the last call.
    """
    self._cut += patches
    if self._mapping is not None and self._cut >= _RELEASE_EVERY:
      self._cut = 0
      if hasattr(mmap, "MADV_DONTNEED"):
        self._mapping.madvise(mmap.MADV_DONTNEED)


def digest(pair: Pair) -> str:
  """Returns a hash of the pixels of LR and HR, 16 hexadecimal digits."""
  result = hashlib.blake2b(digest_size=8)
  for array in pair:
    result.update(_bytes(array))
  return result.hexdigest()


def _bytes(array: np.ndarray) -> memoryview:
  return np.ascontiguousarray(array).reshape(-1).data


def decode(
  images: Sequence[ImagePair],
  *,
  cache_dir: str | Path | None = None,
  spill_dir: str | Path | None = None,
) -> Decoded:
  """Decodes all images; skips those that cannot be read.

  Args:
    images: the images.
    cache_dir: folder for a file of decoded images, which all runs on the same
      images share; None keeps them in memory.
    spill_dir: folder for that file if `cache_dir` is None and the images need
      more than half of the free memory; None keeps them in memory anyway.

  Returns:
    The decoded images, in the same order.

  Raises:
    UserError: the file cannot be written.
  """
  if cache_dir is not None:
    return _cached(images, Path(cache_dir), _load(images))
  if spill_dir is None:
    return _in_memory(images, _load(images))
  path = _path(images, Path(spill_dir))
  if path.exists():  # they did not fit in memory last time
    return _cached(images, Path(spill_dir), _load(images))
  budget = _SHARE * host_memory().available
  loaded = _load(images)
  kept: list[_Loaded] = []
  for item in loaded:
    kept.append(item)
    if not isinstance(item[1], UserError):
      budget -= sum(array.nbytes for array in item[1][0])
    if budget < 0:
      _logger.warning(
        "the decoded images need more than half of the free memory: storing"
        " them in %s",
        path,
      )
      return _cached(
        images, Path(spill_dir), itertools.chain(_drain(kept), loaded)
      )
  return _in_memory(images, kept)


def _drain(items: list[_T]) -> Iterator[_T]:
  """Yields the items in order and removes them from the list."""
  items.reverse()
  while items:
    yield items.pop()


def _load(images: Iterable[ImagePair]) -> Iterator[_Loaded]:
  """Reads images in parallel and yields them in order."""

  def read(numbered: tuple[int, ImagePair]) -> _Loaded:
    number, image = numbered
    try:
      pair = image.load()
      return number, (pair, digest(pair))
    except UserError as error:
      return number, error

  remaining = enumerate(images)
  with futures.ThreadPoolExecutor(_WORKERS) as pool:
    waiting = [
      pool.submit(read, p) for p in itertools.islice(remaining, 2 * _WORKERS)
    ]
    while waiting:
      yield waiting.pop(0).result()
      waiting += [pool.submit(read, p) for p in itertools.islice(remaining, 1)]


def _in_memory(
  images: Sequence[ImagePair], loaded: Iterable[_Loaded]
) -> Decoded:
  decoded = Decoded([], [], [], [])
  for number, result in loaded:
    if isinstance(result, UserError):
      decoded.left_out.append(str(result))
    else:
      decoded.names.append(images[number].name)
      decoded.pairs.append(result[0])
      decoded.digests.append(result[1])
  return decoded


def _path(images: Sequence[ImagePair], folder: Path) -> Path:
  """The path of the file for these images, which contains their hash."""
  key = hashlib.sha256(_MARK)
  for image in images:
    key.update(f"{image.name}\0{image.stamp}\0".encode())
  return folder / f"{key.hexdigest()[:20]}.images"


def _cached(
  images: Sequence[ImagePair], folder: Path, loaded: Iterable[_Loaded]
) -> Decoded:
  """Opens the images' file, and writes it first if necessary."""
  path = _path(images, folder)
  before = identity(path)
  # What others have written needs no lock, which only they may be able to open.
  if before and (decoded := _open(path, images)):
    return decoded
  try:
    folder.mkdir(parents=True, exist_ok=True)
    # Another process that needs the same file waits until it is written.
    with open_lock(path.with_suffix(".lock")) as file:
      locked = False
      with contextlib.suppress(OSError):  # a file system without locks
        locked = lock(file, wait=True)
      now = identity(path)
      decoded = _open(path, images, new=True) if now and now != before else None
      if decoded is None:
        _remove_parts(folder, path.stem if locked else "")
        _write(path, loaded)
        decoded = _open(path, images, new=True)
  except OSError as error:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    raise UserError(
      f"cannot store decoded images in {folder}: {error.strerror};"
      f" {'free some space, or ' if full else ''}use another --cache_dir"
    ) from error
  assert decoded is not None
  return decoded


def _remove_parts(folder: Path, ours: str) -> None:
  """Removes parts of files that killed processes have left.

  A living process holds the file's lock.

  Args:
    folder: the folder of the files.
    ours: stem of the file whose lock this process holds, or "".
  """
  for part in folder.glob(".*.images"):
    if match := _PART.fullmatch(part.name):
      with (
        contextlib.suppress(OSError),
        open_lock(folder / f"{match[1]}.lock") as file,
      ):
        if match[1] == ours or lock(file, wait=False):
          part.unlink(missing_ok=True)


def _write(path: Path, loaded: Iterable[_Loaded]) -> None:
  """Writes the file completely or not at all."""
  rows: list[list] = []
  left_out, offset = [], 0
  with part_of(path, prefix=path.stem) as part, part.open("wb") as file:
    for number, result in loaded:
      if isinstance(result, UserError):
        left_out.append([number, str(result)])
        continue
      shapes = [array.shape[:2] for array in result[0]]
      rows.append([number, result[1], offset, *shapes])
      for array in result[0]:
        file.write(_bytes(array))
        offset += array.nbytes
    index = json.dumps({"images": rows, "left_out": left_out}).encode()
    file.write(index + _TAIL.pack(len(index), _MARK))


def _open(
  path: Path, images: Sequence[ImagePair], *, new: bool = False
) -> Decoded | None:
  """Maps the file into memory.

  Args:
    path: the file.
    images: its images.
    new: whether it has just been written. Otherwise, what could not be read
      then is tried again: a disk may have failed for a moment.

  Returns:
    The images; None, with a warning, if the file is damaged, or leaves out an
    image that can be read now.
  """
  try:
    with path.open("rb") as file:
      mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    length, mark = _TAIL.unpack(mapping[-_TAIL.size :])
    index = json.loads(mapping[-_TAIL.size - length : -_TAIL.size])
    rows, left_out = index["images"], index["left_out"]
    numbers = sorted(row[0] for row in [*rows, *left_out])
    if mark != _MARK or numbers != list(range(len(images))):
      raise ValueError(mark)
    lines: list[str] = []
    for number, line in left_out:
      if not new and (line := _problem(images[number])) == "":
        _logger.warning(
          "%s lacks %s, which can be read now: rebuilding it",
          path,
          images[number].name,
        )
        return None
      lines.append(line)
    decoded = Decoded([], [], [], lines, mapping)
    for number, hashed, offset, *shapes in rows:
      pair = []
      for height, width in shapes:
        size = 3 * height * width
        flat = np.frombuffer(mapping, np.uint8, size, offset)
        pair.append(flat.reshape(height, width, 3))
        offset += size
      lr, hr = pair
      decoded.names.append(images[number].name)
      decoded.pairs.append((lr, hr))
      decoded.digests.append(hashed)
  except (ValueError, LookupError, TypeError, RecursionError, struct.error):
    _logger.warning("%s is damaged or truncated: rebuilding it", path)
    return None
  return decoded


def _problem(image: ImagePair) -> str:
  """Why an image can't be read; "" if it can."""
  try:
    image.load()
  except UserError as error:
    return str(error)
  return ""
