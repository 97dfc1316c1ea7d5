"""Images decoded once: kept in memory, or in a file that is mapped into it.

The file holds the images' bytes one after the other, then an index, then its
length and a mark. What is cut short lacks the mark and is made anew, and so is
a file whose index does not account for each of the images that it is for.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
import contextlib
import hashlib
import itertools
import json
import logging
import mmap
import os
from pathlib import Path
import struct

import numpy as np

from bamjax.data.sources import ImagePair
from bamjax.errors import UserError
from bamjax.files import lock
from bamjax.files import new_file
from bamjax.memory import host_memory

Pair = tuple[np.ndarray, np.ndarray]
# An image's number, and its LR and HR with their digest, or why it can't be
# read.
_Loaded = tuple[int, tuple[Pair, str] | UserError]

_MARK = b"bamjax-2"
_TAIL = struct.Struct("<Q8s")  # length of the index, mark
_WORKERS = min(8, os.cpu_count() or 1)
# Of the memory that is free, what decoded images may take.
_SHARE = 0.5
# Patches cut before mapped pages are let go. A patch touches the pages of all
# its rows, about a megabyte in DIV2K.
_RELEASE_EVERY = 256


class Decoded:
  """Decoded images.

  Attributes:
    names: of the images.
    pairs: LR h×w×3 and HR sh×sw×3, uint8, of each.
    digests: of each, what `digest` finds.
    left_out: why other images could not be read, a line each.
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
    """Bytes of all images."""
    return sum(lr.nbytes + hr.nbytes for lr, hr in self.pairs)

  @property
  def mapped(self) -> bool:
    """Whether the images lie in a file, not in memory."""
    return self._mapping is not None

  def count_cut(self, patches: int) -> None:
    """Lets a mapped file's pages go now and then, after so many patches.

    They stay in the system's cache, but no longer count as this process's.
    """
    self._cut += patches
    if self._mapping is not None and self._cut >= _RELEASE_EVERY:
      self._cut = 0
      if hasattr(mmap, "MADV_DONTNEED"):
        self._mapping.madvise(mmap.MADV_DONTNEED)


def digest(pair: Pair) -> str:
  """16 hexadecimal digits that differ where the bytes of LR or HR do."""
  found = hashlib.blake2b(digest_size=8)
  for array in pair:
    found.update(np.ascontiguousarray(array))
  return found.hexdigest()


def decode(
  images: Sequence[ImagePair],
  *,
  cache_dir: str | Path | None = None,
  spill_dir: str | Path | None = None,
) -> Decoded:
  """Reads all images; those that cannot be read are left out.

  Args:
    images: to read.
    cache_dir: a folder for the file of decoded images, which every run on the
      same images shares; None keeps them in memory.
    spill_dir: where the file goes if `cache_dir` is None and the images would
      take more than half of the free memory; None keeps them in memory all the
      same.

  Raises:
    UserError: the file cannot be written.
  """
  if cache_dir is not None:
    return _cached(images, Path(cache_dir), _load(images))
  if spill_dir is None:
    return _in_memory(images, _load(images))
  path = _path(images, Path(spill_dir))
  if path.exists():  # they did not fit the last time
    return _cached(images, Path(spill_dir), _load(images))
  budget = _SHARE * host_memory().available
  loaded, found = _load(images), []
  for item in loaded:
    found.append(item)
    if not isinstance(item[1], UserError):
      budget -= sum(array.nbytes for array in item[1][0])
    if budget < 0:
      logging.warning(
        "the images take more than half of the free memory: they are kept in"
        " %s",
        path,
      )
      return _cached(
        images, Path(spill_dir), itertools.chain(_drain(found), loaded)
      )
  return _in_memory(images, found)


def _drain(items: list) -> Iterator:
  """Yields the items, holding on to none."""
  items.reverse()
  while items:
    yield items.pop()


def _load(images: Iterable[ImagePair]) -> Iterator[_Loaded]:
  """Reads images in parallel, in order, a few ahead of their use."""

  def read(numbered):
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
  names, pairs, digests, left_out = [], [], [], []
  for number, found in loaded:
    if isinstance(found, UserError):
      left_out.append(str(found))
    else:
      names.append(images[number].name)
      pairs.append(found[0])
      digests.append(found[1])
  return Decoded(names, pairs, digests, left_out)


def _path(images: Sequence[ImagePair], folder: Path) -> Path:
  """Where these images' file lies; other images have another."""
  key = hashlib.sha256(_MARK)
  for image in images:
    key.update(f"{image.name}\0{image.stamp}\0".encode())
  return folder / f"{key.hexdigest()[:20]}.images"


def _cached(
  images: Sequence[ImagePair], folder: Path, loaded: Iterable[_Loaded]
) -> Decoded:
  """Opens the images' file, after making it where there is none."""
  path = _path(images, folder)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    # Another process that needs the same file waits, and then finds it.
    with path.with_suffix(".lock").open("w") as file:
      with contextlib.suppress(OSError):  # a disk without locks
        lock(file, wait=True)
      decoded = _open(path, images) if path.exists() else None
      if decoded is None:
        _write(path, loaded)
        decoded = _open(path, images)
  except OSError as error:
    raise UserError(
      f"decoded images cannot be kept in {folder}: {error.strerror}; free"
      " some space, or give another --cache_dir"
    ) from error
  assert decoded is not None
  return decoded


def _write(path: Path, loaded: Iterable[_Loaded]) -> None:
  """Writes the file whole or not at all."""
  rows, left_out, offset = [], [], 0
  part = new_file(path)
  try:
    with part.open("wb") as file:
      for number, found in loaded:
        if isinstance(found, UserError):
          left_out.append([number, str(found)])
          continue
        shapes = [array.shape[:2] for array in found[0]]
        rows.append([number, found[1], offset, *shapes])
        for array in found[0]:
          file.write(np.ascontiguousarray(array))
          offset += array.nbytes
      index = json.dumps({"images": rows, "left_out": left_out}).encode()
      file.write(index + _TAIL.pack(len(index), _MARK))
    os.replace(part, path)
  except BaseException:
    with contextlib.suppress(OSError):
      part.unlink()
    raise


def _open(path: Path, images: Sequence[ImagePair]) -> Decoded | None:
  """Maps the file into memory; None, and a warning, where it is damaged."""
  try:
    with path.open("rb") as file:
      mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    length, mark = _TAIL.unpack(mapping[-_TAIL.size :])
    index = json.loads(mapping[-_TAIL.size - length : -_TAIL.size])
    rows, left_out = index["images"], index["left_out"]
    numbers = sorted(row[0] for row in [*rows, *left_out])
    if mark != _MARK or numbers != list(range(len(images))):
      raise ValueError(mark)
    names, pairs, digests = [], [], []
    for number, found, offset, *shapes in rows:
      pair = []
      for height, width in shapes:
        size = 3 * height * width
        flat = np.frombuffer(mapping, np.uint8, size, offset)
        pair.append(flat.reshape(height, width, 3))
        offset += size
      lr, hr = pair
      names.append(images[number].name)
      pairs.append((lr, hr))
      digests.append(found)
    left_out = [line for _, line in left_out]
  except (ValueError, LookupError, TypeError, RecursionError, struct.error):
    logging.warning("%s is damaged or cut short: it is made anew", path)
    return None
  return Decoded(names, pairs, digests, left_out, mapping)
