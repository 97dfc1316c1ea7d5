"""PNG files whose profile or texts are larger than Pillow decompresses.

Pillow's limit of 1 MiB for each is a setting of the whole process, which is the
user's. Such files are legitimate: texts hold workflows, profiles large tables.
"""

from collections.abc import Iterator
import io
import struct
from typing import BinaryIO
import zlib

from PIL import PngImagePlugin

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def expanded(file: BinaryIO) -> tuple[BinaryIO, bytes | None] | None:
  """Decompresses a file's large chunks.

  Returns:
    The same file with large texts that are not compressed, which Pillow reads,
    and without a large profile; and that profile. None if the file has none of
    these, is not PNG, or they exceed Pillow's limit on all texts together.
  """
  file.seek(0)
  if file.read(8) != _SIGNATURE:
    return None
  changed, profile, room = False, None, PngImagePlugin.MAX_TEXT_MEMORY
  parts = [_SIGNATURE]
  for kind, data in _chunks(file):
    head, large = _large(kind, data, room)
    if large is None:
      parts.append(chunk(kind, data))
      continue
    changed = True
    room -= len(large)
    if kind == b"iCCP":
      profile = large
    else:
      parts.append(chunk(b"tEXt" if kind == b"zTXt" else kind, head + large))
  return (io.BytesIO(b"".join(parts)), profile) if changed else None


def chunk(kind: bytes, data: bytes) -> bytes:
  """Returns a chunk of a PNG file."""
  check = zlib.crc32(data, zlib.crc32(kind))
  return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
  """Yields types and data of the chunks that are complete."""
  while len(head := file.read(8)) == 8:
    length, kind = struct.unpack(">I4s", head)
    data = file.read(length)
    if len(data) < length:
      return
    yield kind, data
    file.seek(4, 1)  # the check sum


def _large(kind: bytes, data: bytes, room: int) -> tuple[bytes, bytes | None]:
  """What is before the text of a text chunk that is not compressed; the text.

  The text, or profile, is None if it is not larger than Pillow's limit.
  """
  name, _, rest = data.partition(b"\0")
  head = name + b"\0"
  if kind in (b"iCCP", b"zTXt"):
    packed = rest[1:]  # after the method, of which there is one
  elif kind == b"iTXt" and rest[:1] == b"\1":
    language, _, rest = rest[2:].partition(b"\0")
    keyword, _, packed = rest.partition(b"\0")
    head += b"\0\0" + language + b"\0" + keyword + b"\0"
  else:
    return b"", None
  try:
    text = zlib.decompressobj().decompress(packed, room + 1)
  except zlib.error:
    return b"", None
  large = PngImagePlugin.MAX_TEXT_CHUNK < len(text) <= room
  return head, text if large else None
