"""Reads TIFF files that Pillow decodes wrongly, using tifffile.

These have 16 bits per channel, separate planes, or extra channels. tifffile
can't decompress LZW: such files are left to Pillow if it decodes them
correctly, and are an error otherwise.
"""

from collections.abc import Iterator
import contextlib
import functools
from typing import Any
from typing import BinaryIO

import numpy as np
from PIL import Image

from bamjax.images import claims
from bamjax.images import exif

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF
_MINISWHITE, _MINISBLACK, _RGB = 0, 1, 2
_COLORS = {_MINISWHITE: 1, _MINISBLACK: 1, _RGB: 3}
_ASSOCIATED, _UNASSOCIATED = 1, 2
_INCH, _CENTIMETER = 2, 3
_DENSITY, _UNIT, _PROFILE = (282, 283), 296, 34675
SIDEWAYS = 5, 6, 7, 8  # orientations that swap rows and columns


def read(
  file: BinaryIO,
) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any]] | None:
  """Reads the first image of a TIFF file, unless Pillow decodes it correctly.

  Args:
    file: positioned at its start, before and after.

  Returns:
    None if the file is not TIFF or is left to Pillow. Otherwise, colors as they
    are stored, H×W×C uint8 or uint16, C being 1 (gray) or 3 (RGB); alpha, H×W
    of the same dtype, or None; and a dictionary with `icc_profile`, `dpi` and
    `n_frames` as in Pillow's `info`, `orientation`, whether that swaps rows and
    columns (`sideways`), and a function that loads the tags (`exif`).

  Raises:
    ValueError: the file is damaged, or its kind is not supported.
  """
  with _opened(file) as tiff:
    if tiff is None or _is_for_pillow(page := tiff.pages[0]):
      return None
    _check_complete(page, file)
    return *_read(page), _info(page, tiff, file)


def measure(file: BinaryIO) -> tuple[int, int] | None:
  """Returns the height and width, upright, of a TIFF file's first image.

  Args:
    file: positioned at its start, before and after.

  Returns:
    None if the file is not TIFF.
  """
  with _opened(file) as tiff:
    if tiff is None:
      return None
    page = tiff.pages[0]
    size = page.imagelength, page.imagewidth
    turned = page.tags.valueof(exif.ORIENTATION) in SIDEWAYS
    return size[::-1] if turned else size


@contextlib.contextmanager
def _opened(file: BinaryIO) -> Iterator[Any]:
  """Opens a TIFF file, and rewinds it; None if it is none."""
  magic = file.read(4)
  file.seek(0)
  if magic not in _MAGIC:
    yield None
    return
  import tifffile

  with tifffile.TiffFile(file) as tiff:
    yield tiff
  file.seek(0)


def _is_for_pillow(page: Any) -> bool:
  """Whether Pillow decodes a page correctly.

  Raises:
    ValueError: neither Pillow nor tifffile does.
  """
  import tifffile

  bits, planar = page.bitspersample, page.planarconfig == 2
  if isinstance(bits, tuple) or bits < 8:
    return True
  if bits not in (8, 16) or page.sampleformat != 1:
    kind = {2: " signed", 3: " float"}.get(page.sampleformat, "")
    raise ValueError(
      f"it has {bits}{kind} bits per channel; only 8 and 16 unsigned bits are"
      " supported"
    )
  extra = tuple(page.extrasamples)
  if bits == 8 and not extra and not (planar and page.samplesperpixel > 1):
    return True
  known = page.photometric in _COLORS
  try:
    tifffile.TIFF.DECOMPRESSORS[page.compression]
    tifffile.TIFF.UNPREDICTORS[page.predictor]
    if known:
      return False
  except KeyError:
    pass
  if bits == 8 and not (planar and extra):
    return True
  plain = (_MINISBLACK, ()), (_RGB, ()), (_RGB, (_UNASSOCIATED,))
  if bits == 16 and not planar and (page.photometric, extra) in plain:
    return True
  codes = page.photometric, page.compression
  layout = ", ".join(str(getattr(code, "name", code)) for code in codes)
  raise ValueError(
    f"it has {bits} bits per channel in an unsupported layout ({layout}); save"
    " it as 8-bit RGB or as PNG"
  )


def _check_complete(page: Any, file: BinaryIO) -> None:
  """Raises ValueError if data is missing, before memory is allocated for it."""
  size = page.imagewidth * page.imagelength
  # As in Pillow.
  if Image.MAX_IMAGE_PIXELS and size > 2 * Image.MAX_IMAGE_PIXELS:
    raise ValueError(f"its {size} pixels exceed the limit")
  end = file.seek(0, 2)
  starts, counts = page.dataoffsets, page.databytecounts
  if (
    not counts
    or len(starts) != len(counts)
    or min(counts) == 0
    or max(map(sum, zip(starts, counts, strict=True))) > end
  ):
    raise ValueError("it is truncated")
  pixels = max(size * page.imagedepth, page.tilewidth * page.tilelength)
  needed = pixels * page.samplesperpixel * page.bitspersample // 8
  claims.check_tiff(needed, min(end, sum(counts)), page.compression)


def _read(page: Any) -> tuple[np.ndarray, np.ndarray | None]:
  """Colors, H×W×C, and alpha, H×W, of a page."""
  samples = page.asarray()
  if page.samplesperpixel == 1:
    samples = samples[..., None]
  elif page.planarconfig == 2:
    samples = np.moveaxis(samples, 0, -1)
  shape = page.imagelength, page.imagewidth, page.samplesperpixel
  count = _COLORS[page.photometric]
  if samples.shape != shape or shape[2] < count:
    raise ValueError(f"its samples have shape {samples.shape}")
  color, alpha = samples[..., :count], None
  extra = tuple(page.extrasamples)
  if not extra and count == 3 and shape[2] == 4:
    extra = (_UNASSOCIATED,)  # as other programs assume
  for index, kind in enumerate(extra, count):
    if kind in (_ASSOCIATED, _UNASSOCIATED):
      alpha = samples[..., index]
      if kind == _ASSOCIATED:
        color = _divided(color, alpha)
      break
  if page.photometric == _MINISWHITE:
    color = np.invert(color)
  return color, alpha


def _divided(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
  """Divides premultiplied color by alpha, rounding half up."""
  peak = np.uint32(np.iinfo(color.dtype).max)
  alpha = alpha[..., None].astype(np.uint32)
  # 65535² + 32767 is below 2³².
  whole = (color * peak + alpha // 2) // np.maximum(alpha, 1)
  return np.minimum(whole, peak).astype(color.dtype)


def _info(page: Any, tiff: Any, file: BinaryIO) -> dict[str, Any]:
  orientation = page.tags.valueof(exif.ORIENTATION)
  info = {
    "icc_profile": page.tags.valueof(_PROFILE),
    "n_frames": len(tiff.pages),
    "orientation": orientation,
    "sideways": orientation in SIDEWAYS,
    "exif": functools.partial(
      exif.of_tiff, file, page.offset, tiff.byteorder, tiff.is_bigtiff
    ),
  }
  unit = page.tags.valueof(_UNIT, _INCH)
  both = [page.tags.valueof(tag) for tag in _DENSITY]
  if unit in (_INCH, _CENTIMETER) and all(
    isinstance(r, tuple) and len(r) == 2 and all(r) for r in both
  ):
    per_inch = 1 if unit == _INCH else 2.54
    info["dpi"] = tuple(per_inch * top / bottom for top, bottom in both)
  return info
