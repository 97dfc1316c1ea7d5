"""Picture files with all that they hold: depth, alpha, profile, EXIF.

Reading them is in `decoding`; writing is here.
"""

import dataclasses
import logging
from pathlib import Path
import struct
import zlib

import numpy as np
from PIL import Image

from bamjax import png16
from bamjax.decoding import INNER_IFDS
from bamjax.decoding import Picture
from bamjax.decoding import read as read  # pictures.read, pictures.write
from bamjax.errors import UserError
from bamjax.files import replacing

_FORMATS = {
  ".png": "PNG",
  ".jpg": "JPEG",
  ".jpeg": "JPEG",
  ".webp": "WEBP",
  ".tif": "TIFF",
  ".tiff": "TIFF",
  ".bmp": "BMP",
}
EXTENSIONS = tuple(_FORMATS)
_LONGEST = {"JPEG": 65500, "WEBP": 16383}  # pixels a side
_OPTIONS = {
  "JPEG": {"quality": 95, "subsampling": 0},
  "WEBP": {"quality": 95},
  "TIFF": {"compression": "tiff_adobe_deflate"},
}
_EXIF_IFD, _WIDTH, _HEIGHT = 0x8769, 0xA002, 0xA003


def check_output(path: Path, height: int, width: int) -> None:
  """Checks that a file's format can hold a picture so large.

  Raises:
    UserError: its extension is unknown, or the format has smaller pictures.
  """
  suffix = path.suffix.lower()
  if suffix not in _FORMATS:
    raise UserError(
      f"{path}: unknown extension {suffix!r}; choose from"
      f" {', '.join(e[1:] for e in EXTENSIONS)}"
    )
  longest = _LONGEST.get(_FORMATS[suffix])
  if longest and max(height, width) > longest:
    raise UserError(
      f"{path} would have {width}×{height} pixels, and {_FORMATS[suffix]}"
      f" holds {longest} a side at most; give --ext=png"
    )


def write(path: Path, picture: Picture) -> None:
  """Writes a picture in the format of the extension, whole or not at all.

  JPEG and BMP have no alpha: the picture is laid on white. JPEG, WebP and BMP
  have 8 bits a channel. Both are told in a warning.

  Raises:
    UserError: the file cannot be written.
  """
  check_output(path, *picture.color.shape[:2])
  kind = _FORMATS[path.suffix.lower()]
  deep = picture.color.dtype == np.uint16
  if deep and kind not in ("PNG", "TIFF"):
    logging.warning("%s: %s has 8 bits a channel, not 16", path, kind)
    picture = dataclasses.replace(
      picture,
      color=_shallow(picture.color),
      alpha=None if picture.alpha is None else _shallow(picture.alpha),
    )
    deep = False
  if picture.alpha is not None and kind in ("JPEG", "BMP"):
    logging.warning("%s: %s has no transparency: laid on white", path, kind)
    picture = _on_white(picture)
  pixels = _bands(picture)
  exif = _resized(picture.exif, kind, *pixels.shape[:2])
  with replacing(path) as temporary:
    if deep and kind == "PNG":
      png16.write(temporary, pixels, _png_chunks(picture, exif))
    elif deep:
      _write_deep_tiff(temporary, pixels, picture)
    else:
      options = {"icc_profile": picture.icc, "dpi": picture.dpi, "exif": exif}
      options = {k: v for k, v in options.items() if v}
      image = Image.fromarray(
        pixels[..., 0] if pixels.shape[2] == 1 else pixels
      )
      image.save(temporary, kind, **options, **_OPTIONS.get(kind, {}))


def _shallow(values: np.ndarray) -> np.ndarray:
  """16 bits rounded to 8."""
  return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _on_white(picture: Picture) -> Picture:
  color = np.empty(picture.color.shape, np.uint8)
  # By rows, for a float copy of the whole may not fit into memory.
  for y, alpha in enumerate(picture.alpha):
    share = alpha[:, None] / np.float32(255)
    color[y] = 255 - share * (255 - picture.color[y].astype(np.float32)) + 0.5
  return dataclasses.replace(picture, color=color, alpha=None)


def _bands(picture: Picture) -> np.ndarray:
  """H×W×C: gray, gray and alpha, RGB or RGBA."""
  color = picture.color[..., :1] if picture.gray else picture.color
  if picture.alpha is not None:
    color = np.concatenate([color, picture.alpha[..., None]], axis=-1)
  return np.ascontiguousarray(color)


def _resized(
  exif: Image.Exif | None, kind: str, height: int, width: int
) -> bytes | None:
  """EXIF data that tells the new size, where it told the old one."""
  if exif is None:
    return None
  written = Image.Exif()
  written.update(exif)
  # Pillow's compressed TIFF has no place for them.
  for tag in INNER_IFDS if kind != "TIFF" else ():
    if inner := exif.get_ifd(tag):
      written.get_ifd(tag).update(inner)
  if kind != "TIFF" and _WIDTH in (inner := written.get_ifd(_EXIF_IFD)):
    inner.update({_WIDTH: width, _HEIGHT: height})
  return written.tobytes()


def _png_chunks(picture: Picture, exif: bytes | None) -> dict[bytes, bytes]:
  chunks = {}
  if picture.icc:
    chunks[b"iCCP"] = b"ICC Profile\0\0" + zlib.compress(picture.icc)
  if picture.dpi:
    per_meter = [round(dpi / 0.0254) for dpi in picture.dpi]
    chunks[b"pHYs"] = struct.pack(">IIB", *per_meter, 1)
  if exif:
    chunks[b"eXIf"] = exif.removeprefix(b"Exif\0\0")
  return chunks


def _write_deep_tiff(path: Path, pixels: np.ndarray, picture: Picture) -> None:
  import tifffile

  tifffile.imwrite(
    path,
    pixels[..., 0] if pixels.shape[2] == 1 else pixels,
    photometric="minisblack" if picture.gray else "rgb",
    planarconfig=None if pixels.shape[2] == 1 else "contig",
    extrasamples=None if picture.alpha is None else ["unassalpha"],
    compression="zlib",
    iccprofile=picture.icc,
    resolution=picture.dpi,
    resolutionunit="INCH" if picture.dpi else None,
    metadata=None,
  )
