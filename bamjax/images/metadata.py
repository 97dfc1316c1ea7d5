"""Selects the metadata that a file format can store."""

from collections.abc import Mapping
from collections.abc import Sequence
import io
import logging
from pathlib import Path
import struct
from typing import Any

import numpy as np
from PIL import ExifTags
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bamjax.images.decoding import ImageData
from bamjax.images.exif import INNER_IFDS

_logger = logging.getLogger(__name__)

_EXIF_IFD, _WIDTH, _HEIGHT = 0x8769, 0xA002, 0xA003
_PROGRAM = 0x0131
# Ranges of pixels per inch: JFIF has 16 bits for them, others have 31 bits for
# pixels per meter.
_DENSITIES = {"JPEG": (0.5, 65535)}
_DENSITY = 0.03, 1e7
_USUAL_GAMMA = 1 / 2.2  # assumed by viewers if a file has none
_PILLOW_OPENS = 2**20  # bytes of a profile that Pillow opens by default
_MAIN = 0  # stands for EXIF's main directory
_Tag = tuple[int, int, Any]  # directory, number, value


def options(path: Path, kind: str, image: ImageData) -> dict[str, Any]:
  """Metadata as arguments of Pillow's `save`: icc_profile, dpi, exif, pnginfo.

  What the format can't store is left out, with a warning.

  Args:
    path: the file, for the warning.
    kind: the format, in Pillow's terms: "PNG", "JPEG", …
    image: the image whose metadata to write.
  """
  found: dict[str, Any] = {}
  left_out: list[str] = []
  # WebP stores gray images as RGB.
  space = b"GRAY" if image.gray and kind != "WEBP" else b"RGB "
  if not image.icc:
    pass
  elif kind == "BMP" or not _holds(kind, icc_profile=image.icc):
    left_out.append(f"the color profile ({len(image.icc):,} bytes)")
  elif image.icc[16:20] != space:
    left_out.append(
      f"the color profile (it is not for {space.decode().strip()})"
    )
  else:
    found["icc_profile"] = image.icc
  if image.dpi:
    least, most = _DENSITIES.get(kind, _DENSITY)
    if all(least <= dpi <= most for dpi in image.dpi):  # False for NaN
      found["dpi"] = image.dpi
    else:
      left_out.append("the density ({:g}×{:g} dpi)".format(*image.dpi))
  deep_tiff = kind == "TIFF" and image.color.dtype == np.uint16
  if image.exif is not None and (kind == "BMP" or deep_tiff):
    if any(map(image.exif.get_ifd, INNER_IFDS)):
      left_out.append("EXIF data")
    # The program that wrote the file has not written this one.
    elif names := [
      _name((_MAIN, n, None)) for n in image.exif if n != _PROGRAM
    ]:
      left_out.append(f"the tags {', '.join(names)}")
  elif image.exif is not None:
    exif, tags = _encoded(_tags(image.exif, kind, image.color.shape), kind)
    if exif:
      found["exif"] = exif
    left_out += [f"EXIF's {_name(tag)}" for tag in tags]
    if kind == "TIFF" and any(map(image.exif.get_ifd, INNER_IFDS)):
      left_out.append("EXIF's date, exposure and place")
  if image.text and kind == "PNG":
    found["pnginfo"], keys = _png_text(image.text)
    left_out += [f"the text {key!r}" for key in keys]
  elif image.text:
    left_out.append(f"PNG's text ({', '.join(image.text)})")
  if image.gamma and kind == "PNG":
    gamma = struct.pack(">I", round(image.gamma * 1e5))
    found.setdefault("pnginfo", PngInfo()).add(b"gAMA", gamma)
  elif image.gamma and not image.icc:  # a profile defines gamma, too
    if abs(image.gamma / _USUAL_GAMMA - 1) > 0.01:
      left_out.append(f"PNG's gamma ({image.gamma:g})")
  if left_out:
    _logger.warning("%s: %s cannot hold %s", path, kind, ", ".join(left_out))
  return found


def _holds(kind: str, **found: Any) -> bool:
  """Whether an image of one pixel can be written with metadata, and opened."""
  if kind == "PNG" and len(found.get("icc_profile", b"")) > _PILLOW_OPENS:
    return False
  file = io.BytesIO()
  if kind == "TIFF":  # use libtiff, as in `image_file`: it is stricter
    found["compression"] = "tiff_adobe_deflate"
  try:
    Image.new("RGB", (1, 1)).save(file, kind, **found)
    with Image.open(file) as written:
      written.load()
  # Odd values raise nearly anything in Pillow's plugins.
  except Exception:
    return False
  return True


def _tags(exif: Image.Exif, kind: str, shape: Sequence[int]) -> Sequence[_Tag]:
  """All of EXIF's tags; if they include the image's size, it is the new one."""
  found = [(_MAIN, number, value) for number, value in exif.items()]
  size = {_WIDTH: shape[1], _HEIGHT: shape[0]}
  # Pillow can't write nested directories to compressed TIFF.
  for ifd in INNER_IFDS if kind != "TIFF" else ():
    inner = dict(exif.get_ifd(ifd))
    if ifd == _EXIF_IFD and _WIDTH in inner:
      inner |= size
    found += [(ifd, number, value) for number, value in inner.items()]
  return [tag for tag in found if tag[1] not in INNER_IFDS]


def _encoded(
  tags: Sequence[_Tag], kind: str
) -> tuple[bytes | None, Sequence[_Tag]]:
  """Encodes the tags that can be written, and returns those that can't."""
  if data := _bytes(tags, kind):
    return data, []
  alone = [(tag, _bytes([tag], kind)) for tag in tags]
  left_out = [tag for tag, data in alone if not data]
  # JPEG has room for 64 KiB, so the largest tags are dropped first.
  sizes = [(len(data), tag) for tag, data in alone if data]
  good = [tag for _, tag in sorted(sizes, key=lambda pair: pair[0])]
  while good and not (data := _bytes(good, kind)):
    left_out.append(good.pop())
  return data if good else None, left_out


def _bytes(tags: Sequence[_Tag], kind: str) -> bytes | None:
  """Encodes EXIF tags; None if the format can't store them."""
  exif = Image.Exif()
  for ifd, number, value in tags:
    (exif.get_ifd(ifd) if ifd else exif)[number] = value
  try:
    data = exif.tobytes()
  # Values whose type is not the tag's raise nearly anything.
  except Exception:
    return None
  return data if _holds(kind, exif=data) else None


def _name(tag: _Tag) -> str:
  names = ExifTags.GPSTAGS if tag[0] == INNER_IFDS[1] else ExifTags.TAGS
  return names.get(tag[1], f"{tag[1]:#06x}")


def _png_text(text: Mapping[str, str]) -> tuple[PngInfo, list[str]]:
  """PNG's text chunks, and keywords of those that can't be written."""
  info, left_out = PngInfo(), []
  for key, value in text.items():
    one = PngInfo()
    try:
      # Uncompressed, because Pillow opens no more than 1 MiB otherwise.
      one.add_text(key, value)
    except (UnicodeError, ValueError):
      left_out.append(key)
      continue
    if _holds("PNG", pnginfo=one):
      info.add_text(key, value)
    else:
      left_out.append(key)
  return info, left_out
