"""Writes image files with depth, alpha, color profile, EXIF data and text.

Reading is in `decoding`.
"""

from collections.abc import Mapping
import dataclasses
import logging
from pathlib import Path
import struct
from typing import Any

import numpy as np
from PIL import Image

from bamjax.errors import UserError
from bamjax.files import replacing
from bamjax.images import metadata
from bamjax.images import png
from bamjax.images.decoding import ImageData
from bamjax.images.decoding import measure as measure  # callers read and write
from bamjax.images.decoding import read as read
from bamjax.images.decoding import to_8_bits

_logger = logging.getLogger(__name__)

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
_LONGEST = {"JPEG": 65500, "WEBP": 16383}  # pixels per side
_OPTIONS: dict[str, dict[str, Any]] = {
  "JPEG": {"quality": 95, "subsampling": 0},
  "WEBP": {"quality": 95},
  "TIFF": {"compression": "tiff_adobe_deflate"},
  "PNG": {"compress_level": png.LEVEL},
}


class FormatError(UserError):
  """The file format cannot store an image."""


def check_output(path: Path, height: int, width: int) -> None:
  """Checks that a file's format can store an image of this size.

  Args:
    path: the file; the extension determines the format.
    height: in pixels.
    width: in pixels.

  Raises:
    FormatError: the extension is unknown, or the image is too large.
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
      f"{path}: {_FORMATS[suffix]} allows at most {longest} pixels per side,"
      f" not {width}×{height}; use --ext=png"
    )


def write(path: Path, image: ImageData, quality: int | None = None) -> None:
  """Writes an image in the extension's format, completely or not at all.

  JPEG and BMP have no alpha: the image is blended with white. JPEG, WebP and
  BMP have 8 bits per channel. Metadata that the format can't store are left
  out. A warning is logged for each.

  Args:
    path: the file.
    image: the image.
    quality: of JPEG and WebP, 1 to 100. None is 95, or lossless if the image is
      written as WebP and was read from a lossless WebP file.

  Raises:
    FormatError: the format cannot store the image.
    UserError: the file cannot be written.
  """
  check_output(path, *image.color.shape[:2])
  kind = _FORMATS[path.suffix.lower()]
  deep = image.color.dtype == np.uint16
  if deep and kind not in ("PNG", "TIFF"):
    _logger.warning(
      "%s: %s has 8 bits per channel; rounded from 16", path, kind
    )
    image = dataclasses.replace(
      image,
      color=to_8_bits(image.color),
      alpha=None if image.alpha is None else to_8_bits(image.alpha),
    )
    deep = False
  if image.alpha is not None and kind in ("JPEG", "BMP"):
    _logger.warning(
      "%s: %s has no transparency; blended with white", path, kind
    )
    image = _on_white(image, image.alpha)
  found = metadata.options(path, kind, image)
  pixels = _bands(image)
  with replacing(path) as temporary:
    try:
      if deep and kind == "PNG":
        png.write_16_bits(temporary, pixels, found)
      elif deep:
        _write_deep_tiff(temporary, pixels, image, found)
      else:
        options = _options(kind, image.lossless, quality)
        Image.fromarray(pixels).save(temporary, kind, **found, **options)
    # An image too large for a format's integers raises nearly anything.
    except (ValueError, RuntimeError, OverflowError, struct.error) as error:
      raise FormatError(
        f"{path} cannot be written as {kind} ({error})"
      ) from None


def _options(kind: str, lossless: bool, quality: int | None) -> dict[str, Any]:
  if kind == "WEBP" and lossless and quality is None:
    # `exact` keeps the color of fully transparent pixels.
    return {"lossless": True, "exact": True}
  options = dict(_OPTIONS.get(kind, {}))
  if "quality" in options and quality is not None:
    options["quality"] = quality
  return options


def _on_white(image: ImageData, alpha: np.ndarray) -> ImageData:
  """Blends an image of 8 bits, whose alpha is H×W, with white."""
  color = np.empty(image.color.shape, np.uint8)
  # Row by row: a float copy of the image may not fit in memory.
  for y, row in enumerate(alpha):
    share = row[:, None] / np.float32(255)
    color[y] = 255 - share * (255 - image.color[y].astype(np.float32)) + 0.5
  return dataclasses.replace(image, color=color, alpha=None)


def _bands(image: ImageData) -> np.ndarray:
  """The pixels: gray as H×W, otherwise gray and alpha, RGB or RGBA, H×W×C."""
  color = image.color[..., 0] if image.gray else image.color
  if image.alpha is not None:
    color = np.dstack([color, image.alpha])
  return np.ascontiguousarray(color)


def _write_deep_tiff(
  path: Path, pixels: np.ndarray, image: ImageData, found: Mapping[str, Any]
) -> None:
  import tifffile

  dpi = found.get("dpi")
  tifffile.imwrite(
    path,
    pixels,
    photometric="minisblack" if image.gray else "rgb",
    planarconfig=None if pixels.ndim == 2 else "contig",
    extrasamples=None if image.alpha is None else ["unassalpha"],
    compression="zlib",
    iccprofile=found.get("icc_profile"),
    resolution=dpi,
    resolutionunit="INCH" if dpi else None,
    metadata=None,
  )
