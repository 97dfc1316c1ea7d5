"""Reads EXIF data, without the tags that describe the file's own pixels."""

from collections.abc import Callable
import logging
from pathlib import Path
from typing import BinaryIO

from PIL import Image

_logger = logging.getLogger(__name__)

ORIENTATION = 0x0112
_DESCRIPTION = 0x010E
# Nested directories: of the camera, and of the place (GPS).
INNER_IFDS = (0x8769, 0x8825)
# TIFF's tags for the layout of pixels, which a copy of the image has anew.
_STORAGE_TAGS = (
  *(0x00FE, 0x0100, 0x0101, 0x0102, 0x0103, 0x0106, 0x0111, 0x0115, 0x0116),
  *(0x0117, 0x011A, 0x011B, 0x011C, 0x0128, 0x013D, 0x0140, 0x0142, 0x0143),
  *(0x0144, 0x0145, 0x014A, 0x0152, 0x0153, 0x0201, 0x0202, 0x02BC, 0x8649),
  # Of fax and of JPEG: coded with tables of the file, colors by its own rule.
  *(0x010A, 0x0118, 0x0119, 0x0124, 0x0125, 0x0154, 0x0155, 0x015B, 0x0200),
  *(0x0203, 0x0205, 0x0206, 0x0207, 0x0208, 0x0209, 0x0211, 0x0212, 0x0214),
  *(0x8773, ORIENTATION),
)


def attempt(
  path: str | Path, load: Callable[[], Image.Exif | None]
) -> Image.Exif | None:
  """Loads EXIF data; None, with a warning, if they are damaged."""
  try:
    return load()
  # Damaged bytes raise nearly anything in Pillow.
  except Exception as error:
    reason = " ".join(str(error).split()) or type(error).__name__
    _logger.warning("%s: EXIF data was not read (%s)", path, reason)
    return None


def without_storage(exif: Image.Exif) -> Image.Exif | None:
  """A copy without orientation and storage tags; None if nothing remains."""
  kept = Image.Exif()
  inner = {tag: exif.get_ifd(tag) for tag in INNER_IFDS}
  for tag, value in exif.items():
    # tifffile describes the array there.
    array = tag == _DESCRIPTION and str(value).startswith('{"shape":')
    if tag not in (*_STORAGE_TAGS, *INNER_IFDS) and not array:
      kept[tag] = value
  for tag, values in inner.items():
    if values:
      kept.get_ifd(tag).update(values)
  return kept if kept or any(inner.values()) else None


def of_tiff(
  file: BinaryIO, offset: int, endian: str, bigtiff: bool
) -> Image.Exif:
  """Loads tags of a TIFF file.

  Args:
    file: the file.
    offset: where the tags begin.
    endian: the order of bytes, "<" or ">".
    bigtiff: whether it is a BigTIFF.

  Raises:
    ValueError: it is a big-endian BigTIFF, which Pillow does not support.
    Exception: the tags are damaged.
  """
  if bigtiff and endian == ">":
    raise ValueError("Pillow does not support big-endian BigTIFF")
  exif = Image.Exif()
  # Pillow itself would take BigTIFF's header for that of TIFF.
  exif.endian, exif.bigtiff = endian, bigtiff
  exif.load_from_fp(file, offset)
  return exif
