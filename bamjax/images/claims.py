"""Refuses files that claim more pixels than their bytes can hold.

A damaged or truncated header of a small file may ask for gigabytes, which
decoders allocate before they notice.
"""

import re

from PIL import ImageFile
from PIL.TiffImagePlugin import COMPRESSION_INFO

# Bytes that one byte of a file can become: a match of deflate, 258 bytes, takes
# 2 bits; one of LZW, at most 3,838 bytes, takes 12; PackBits repeats a byte 128
# times by 2.
_DEFLATE, _LZW, _PACKBITS = 1032, 2560, 64
# A block of 8×8 pixels, in a progressive JPEG, takes at least 1 bit.
_JPEG = 512
# By Pillow's name of a decoder, or of a compression in TIFF. Others have no
# limit: an image of one color may take a few bytes.
_BY_NAME = {
  "raw": 1,
  "zip": _DEFLATE,
  "tiff_adobe_deflate": _DEFLATE,
  "tiff_deflate": _DEFLATE,
  "gif": _LZW,
  "tiff_lzw": _LZW,
  "packbits": _PACKBITS,
  "jpeg": _JPEG,
  "tiff_jpeg": _JPEG,
}
# Formats whose files are what these decoders read.
_FORMATS = ("PNG", "JPEG", "MPO", "TIFF", "BMP", "GIF", "PPM", "TGA")
_LARGE = 2**30  # bytes of an image that are compared with what is available


def check(pil: ImageFile.ImageFile, held: int) -> None:
  """Checks an opened file before its pixels are allocated.

  Args:
    pil: the file.
    held: its bytes.

  Raises:
    ValueError: it is damaged, or does not fit in memory.
  """
  width, height = pil.size
  tile = pil.tile[0] if getattr(pil, "tile", None) else None
  name, bits = "", 8
  if tile and pil.format in _FORMATS:
    name = str(tile.codec_name)
    if name == "libtiff":
      name = str(pil.info.get("compression"))
    # The fewest bits of a pixel: "P;4" has 4, "BGR;16" has more than 8.
    args = tile.args[0] if isinstance(tile.args, tuple) else tile.args
    found = re.search(r";(\d+)", str(args))
    bits = 1 if pil.mode == "1" else min(8, int(found[1]) if found else 8)
  pixels = width * height
  _check(pixels * bits // 8, held, name, 4 * pixels)


def check_tiff(claimed: int, held: int, compression: int) -> None:
  """Checks a TIFF file before its pixels are allocated.

  Args:
    claimed: bytes of the decoded image.
    held: bytes of the file.
    compression: the number of its compression.

  Raises:
    ValueError: it is damaged, or does not fit in memory.
  """
  _check(claimed, held, COMPRESSION_INFO.get(compression, ""), claimed)


def _check(claimed: int, held: int, codec: str, needed: int) -> None:
  """Compares with what a codec can expand, and `needed` with free memory."""
  expansion = _BY_NAME.get(codec)
  if expansion and claimed > expansion * held:
    raise ValueError(
      f"it is damaged or truncated: {claimed:,} bytes of pixels are not in"
      f" {held:,} bytes"
    )
  if needed > _LARGE:
    from bamjax.memory import host_memory  # imports JAX

    if needed > host_memory().available:
      raise ValueError(f"its {needed / 1e9:,.1f} GB do not fit in memory")
