"""Image files with all that they hold: depth, alpha, profile, EXIF, text.

Reading them is in `decoding`; writing is here.
"""

from collections.abc import Mapping
import dataclasses
import logging
from pathlib import Path
import struct
from typing import Any
import warnings
import zlib

import numpy as np
from PIL import Image

from bamjax.errors import UserError
from bamjax.files import replacing
from bamjax.images import metadata
from bamjax.images import png16
from bamjax.images.decoding import ImageData
from bamjax.images.decoding import read as read  # read and write, side by side

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


class FormatError(UserError):
  """A format that cannot hold an image."""


def check_output(path: Path, height: int, width: int) -> None:
  """Checks that a file's format can hold an image so large.

  Raises:
    FormatError: its extension is unknown, or the format has smaller images.
  """
  suffix = path.suffix.lower()
  if suffix not in _FORMATS:
    raise FormatError(
      f"{path}: unknown extension {suffix!r}; choose from"
      f" {', '.join(e[1:] for e in EXTENSIONS)}"
    )
  longest = _LONGEST.get(_FORMATS[suffix])
  if longest and max(height, width) > longest:
    raise FormatError(
      f"{path} would have {width}×{height} pixels, and {_FORMATS[suffix]}"
      f" holds {longest} a side at most; give --ext=png"
    )


def write(path: Path, image: ImageData, quality: int | None = None) -> None:
  """Writes an image in the format of the extension, whole or not at all.

  JPEG and BMP have no alpha: the image is laid on white. JPEG, WebP and BMP
  have 8 bits a channel. Both are told in a warning, as are metadata that the
  format cannot hold, which are left out.

  Args:
    path: of the file.
    image: what is written.
    quality: 1 to 100, of JPEG and WebP. None is 95, and lossless for WebP of
      what comes from a lossless WebP file.

  Raises:
    FormatError: the format cannot hold the image.
    UserError: the file cannot be written.
  """
  check_output(path, *image.color.shape[:2])
  kind = _FORMATS[path.suffix.lower()]
  deep = image.color.dtype == np.uint16
  if deep and kind not in ("PNG", "TIFF"):
    logging.warning("%s: %s has 8 bits a channel, not 16", path, kind)
    image = dataclasses.replace(
      image,
      color=_shallow(image.color),
      alpha=None if image.alpha is None else _shallow(image.alpha),
    )
    deep = False
  if image.alpha is not None and kind in ("JPEG", "BMP"):
    logging.warning("%s: %s has no transparency: laid on white", path, kind)
    image = _on_white(image)
  pixels = _bands(image)
  found = metadata.options(path, kind, image, *pixels.shape[:2])
  with replacing(path) as temporary, warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of metadata that are odd, and fit
    try:
      if deep and kind == "PNG":
        png16.write(temporary, pixels, _png_chunks(found))
      elif deep:
        _write_deep_tiff(temporary, pixels, image, found)
      else:
        pil = Image.fromarray(
          pixels[..., 0] if pixels.shape[2] == 1 else pixels
        )
        options = _options(kind, image.lossless, quality)
        pil.save(temporary, kind, **found, **options)
    # A pixel too many for a format's numbers raises nearly anything.
    except (ValueError, RuntimeError, OverflowError, struct.error) as error:
      raise FormatError(
        f"{path} cannot be written as {kind} ({error})"
      ) from None


def _options(kind: str, lossless: bool, quality: int | None) -> dict[str, Any]:
  if kind == "WEBP" and lossless and quality is None:
    # Also of colours under full transparency.
    return {"lossless": True, "exact": True}
  options = dict(_OPTIONS.get(kind, {}))
  if "quality" in options and quality is not None:
    options["quality"] = quality
  return options


def _shallow(values: np.ndarray) -> np.ndarray:
  """16 bits rounded to 8."""
  return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _on_white(image: ImageData) -> ImageData:
  color = np.empty(image.color.shape, np.uint8)
  # By rows, for a float copy of the whole may not fit into memory.
  for y, alpha in enumerate(image.alpha):
    share = alpha[:, None] / np.float32(255)
    color[y] = 255 - share * (255 - image.color[y].astype(np.float32)) + 0.5
  return dataclasses.replace(image, color=color, alpha=None)


def _bands(image: ImageData) -> np.ndarray:
  """H×W×C: gray, gray and alpha, RGB or RGBA."""
  color = image.color[..., :1] if image.gray else image.color
  if image.alpha is not None:
    color = np.concatenate([color, image.alpha[..., None]], axis=-1)
  return np.ascontiguousarray(color)


def _png_chunks(found: Mapping[str, Any]) -> list[tuple[bytes, bytes]]:
  chunks = []
  if icc := found.get("icc_profile"):
    chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc)))
  if dpi := found.get("dpi"):
    per_meter = [round(x / 0.0254) for x in dpi]
    chunks.append((b"pHYs", struct.pack(">IIB", *per_meter, 1)))
  if exif := found.get("exif"):
    chunks.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
  if text := found.get("pnginfo"):
    chunks += [(kind, data) for kind, data, *_ in text.chunks]
  return chunks


def _write_deep_tiff(
  path: Path, pixels: np.ndarray, image: ImageData, found: Mapping[str, Any]
) -> None:
  import tifffile

  dpi = found.get("dpi")

  tifffile.imwrite(
    path,
    pixels[..., 0] if pixels.shape[2] == 1 else pixels,
    photometric="minisblack" if image.gray else "rgb",
    planarconfig=None if pixels.shape[2] == 1 else "contig",
    extrasamples=None if image.alpha is None else ["unassalpha"],
    compression="zlib",
    iccprofile=found.get("icc_profile"),
    resolution=dpi,
    resolutionunit="INCH" if dpi else None,
    metadata=None,
  )
