"""Reads image files with depth, alpha, color profile, EXIF data and text."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import io
import math
import os
from pathlib import Path
import re
import stat
import struct
import sys
from typing import Any
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL import ImageCms
from PIL import ImageFile
from PIL import UnidentifiedImageError

from bamjax.errors import UserError
from bamjax.errors import warn_once
from bamjax.images import claims
from bamjax.images import exif
from bamjax.images import png
from bamjax.images import tiff

# Factors from gray levels of fewer bits to 8 bits.
_GRAY_STEPS = {"L;2": 85, "L;4": 17}
# Formats of files, and compressions of TIFF, as Pillow names them.
_JPEG = {"JPEG", "MPO"}
_TIFF_JPEG = {"jpeg", "tiff_jpeg"}
# The two codings of a WebP image, by their chunks.
_LOSSLESS, _LOSSY = b"VP8L", b"VP8 "
# Gray with alpha of 16 bits: decoded as RGBA, its four bytes are kept.
_PAIR = "LA;16B"
_DEEP = re.compile(r"(RGB|RGBA);16([BLN])")
_NATIVE = "L" if sys.byteorder == "little" else "B"
_OTHER = {"L": "B", "B": "L"}
# What makes an image upright, by EXIF's orientation.
_TURNS: dict[int | None, Callable[[np.ndarray], np.ndarray]] = {
  2: lambda a: a[:, ::-1],
  3: lambda a: a[::-1, ::-1],
  4: lambda a: a[::-1],
  5: lambda a: a.swapaxes(0, 1),
  6: lambda a: np.rot90(a, -1),
  7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
  8: lambda a: np.rot90(a),
}


@dataclasses.dataclass(frozen=True)
class ImageData:
  """An image, upright.

  Attributes:
    color: H×W×3, uint8 or uint16. A gray image has three equal channels.
    alpha: H×W, same dtype as `color`; None if the image is opaque.
    gray: whether the file is a gray image.
    icc: its ICC color profile.
    dpi: horizontal and vertical pixels per inch, of the upright image.
    exif: its EXIF data, without orientation and storage tags.
    text: a PNG file's text chunks, by keyword.
    lossless: whether it was read from a lossless WebP file.
    lossy: whether it was compressed with loss: JPEG, also in TIFF, or WebP.
    gamma: a PNG file's encoding exponent, usually 1/2.2.
  """

  color: np.ndarray
  alpha: np.ndarray | None = None
  gray: bool = False
  icc: bytes | None = None
  dpi: tuple[float, float] | None = None
  exif: Image.Exif | None = None
  text: Mapping[str, str] = dataclasses.field(default_factory=dict)
  lossless: bool = False
  lossy: bool = False
  gamma: float | None = None


def read(path: str | Path, *, metadata: bool = True) -> ImageData:
  """Reads a PNG, JPEG, WebP, TIFF or BMP file.

  RGB and gray images of 16 bits per channel, with or without alpha, keep their
  depth. Palettes become RGB, CMYK and Lab become sRGB. If there are several
  frames or pages, only the first is used, with a warning.

  Args:
    path: the file.
    metadata: whether to read `exif`, `text`, `lossless` and `lossy`.

  Raises:
    UserError: the file is missing, not a regular file, truncated or not an
      image, or has 32 bits per channel.
  """
  with _opened(path) as file:
    try:
      return _read(path, file, metadata)
    except ValueError:
      found = png.expanded(file)
      if found is None:
        raise
    whole, icc = found
    image = _read(path, whole, metadata)
    return dataclasses.replace(image, icc=icc or image.icc)


def measure(path: str | Path) -> tuple[int, int]:
  """Returns the height and the width of a file's image, upright.

  Only its header is read.

  Raises:
    UserError: see `read`.
  """
  with _opened(path) as file:
    if found := tiff.measure(file):
      return found
    with Image.open(file) as pil:
      width, height = pil.size
      # Pillow decodes PNG to look for EXIF data after the pixels.
      late = pil.format == "PNG" and "exif" not in pil.info
      turned = False
      with contextlib.suppress(Exception):  # as by `exif.attempt`
        turned = not late and pil.getexif()[exif.ORIENTATION] in tiff.SIDEWAYS
      return (width, height) if turned else (height, width)


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[BinaryIO]:
  """Opens an image file; raises UserError for whatever the block raises."""
  try:
    # Opening a FIFO would block until something is written to it.
    if not stat.S_ISREG(os.stat(path).st_mode):
      raise ValueError("it is not a regular file")
    # Given a path, Pillow maps some files into memory, and scrambles those that
    # have an orientation.
    with open(path, "rb") as file:
      yield file
  except FileNotFoundError:
    if os.path.islink(path):
      raise UserError(f"{path} is a broken link") from None
    raise UserError(f"there is no file {path}") from None
  # Damaged bytes can raise nearly anything in Pillow's plugins.
  except Exception as error:
    raise UserError(
      f"{path} cannot be read as an image ({_reason(error)})"
    ) from None


def to_8_bits(values: np.ndarray) -> np.ndarray:
  """Rounds uint16 to uint8, 65535 being 255; uint8 is returned as it is."""
  if values.dtype == np.uint8:
    return values
  return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _reason(error: Exception) -> str:
  if isinstance(error, UnidentifiedImageError):
    return "it is not a supported image format"
  if isinstance(error, MemoryError):
    return "it does not fit in memory"
  text = (isinstance(error, OSError) and error.strerror) or str(error)
  text = " ".join(text.split()) or type(error).__name__
  # Other errors describe the decoder's code, not the file.
  plain = OSError, ValueError, SyntaxError, ImportError
  bomb = Image.DecompressionBombError
  return text if isinstance(error, (*plain, bomb)) else f"it is damaged: {text}"


def _read(path: str | Path, file: BinaryIO, metadata: bool) -> ImageData:
  """Reads an open file; `path` is for warnings."""
  color, alpha, info = tiff.read(file) or _by_pillow(path, file, metadata)
  if info["n_frames"] > 1:
    warn_once(f"{path} has several frames or pages; only the first is used")
  webp = kept = None
  if metadata:
    webp = _webp_coding(file)
    kept = exif.attempt(path, lambda: exif.without_storage(info["exif"]()))
  turn = _TURNS.get(info["orientation"], lambda a: a)
  color = turn(color)
  return ImageData(
    color=np.broadcast_to(color, (*color.shape[:2], 3)),
    alpha=None if alpha is None else turn(alpha),
    gray=color.shape[2] == 1,
    icc=info["icc_profile"],
    dpi=_density(info.get("dpi"), info["sideways"]),
    gamma=info.get("gamma") or None,
    exif=kept,
    text=info.get("text", {}),
    lossless=webp == _LOSSLESS,
    lossy=info.get("lossy", False) or webp == _LOSSY,
  )


def _by_pillow(
  path: str | Path, file: BinaryIO, metadata: bool
) -> tuple[np.ndarray, np.ndarray | None, dict[str, Any]]:
  """Decodes a file with Pillow; returns what `tiff.read` does.

  The dictionary also has `gamma`, and `text` and `lossy` with `metadata`.
  """
  with Image.open(file) as pil:
    frames = getattr(pil, "n_frames", 1)
    # Pillow orients TIFF files itself, and drops the tag.
    before = getattr(pil, "tag_v2", {}).get(exif.ORIENTATION)
    claims.check(pil, file.seek(0, os.SEEK_END))
    raw = _raw_mode(pil)
    if raw == _PAIR:
      _retile(pil, "RGBA")
    pil.load()
    tags = exif.attempt(path, pil.getexif) or Image.Exif()
    color, alpha, icc = _bands(pil, raw, file)
    after = tags.get(exif.ORIENTATION)
    info: dict[str, Any] = {
      "icc_profile": icc,
      "dpi": pil.info.get("dpi"),
      "gamma": pil.info.get("gamma") if pil.format == "PNG" else None,
      # The other frames of an MPO file are previews.
      "n_frames": 1 if pil.format == "MPO" else frames,
      "orientation": after,
      "sideways": (before or after) in tiff.SIDEWAYS,
      "exif": lambda: tags,
    }
    if metadata:
      info["text"] = _text(pil)
      packed = pil.info.get("compression")
      info["lossy"] = pil.format in _JPEG or packed in _TIFF_JPEG
  return color, alpha, info


def _bands(
  pil: ImageFile.ImageFile, raw: str, file: BinaryIO
) -> tuple[np.ndarray, np.ndarray | None, bytes | None]:
  """Colors, H×W×C, alpha and profile of a decoded file; see `_deep`."""
  icc, key = pil.info.get("icc_profile"), pil.info.get("transparency")
  if pil.mode in ("I", "F"):
    raise ValueError("it has 32 bits per channel; only 8 and 16 are supported")
  if (bands := _deep(pil, raw, file)) is not None:
    if key is not None:
      alpha = np.where((bands == key).all(axis=-1), 0, 65535)
      return bands, alpha.astype(np.uint16), icc
  else:
    if raw in _GRAY_STEPS and isinstance(key, int):
      pil.info["transparency"] = key * _GRAY_STEPS[raw]
    simple, icc = _simple(pil, icc)
    bands = np.atleast_3d(np.asarray(simple))
  if bands.shape[2] in (2, 4):
    return bands[..., :-1], bands[..., -1], icc
  return bands, None, icc


def _deep(
  pil: ImageFile.ImageFile, raw: str, file: BinaryIO
) -> np.ndarray | None:
  """The pixels of a file of 16 bits per channel, of which Pillow keeps 8.

  Pillow has no mode for such colors: it decodes "RGB;16B" and the like, and
  keeps each channel's high byte. Its names for the layout of a file's pixels
  can be replaced before it decodes them. With the other byte order, it keeps
  the low byte, so two passes give all 16 bits. There is no simpler way without
  another decoder: tifffile reads no PNG, and no LZW without imagecodecs, which
  is large. Nor can one pass read six bytes per pixel as another mode, because
  PNG's filters work on whole pixels.

  Args:
    pil: the decoded file.
    raw: its `_raw_mode` before that.
    file: the same file, to be decoded again.

  Returns:
    H×W×C uint16, C being 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGBA); None
    if the file has fewer bits.
  """
  if pil.mode.startswith("I;16"):
    # Pillow converts to native byte order.
    return np.asarray(pil).astype(np.uint16, copy=False)[..., None]
  if raw == _PAIR:
    return np.asarray(pil).view(">u2").astype(np.uint16)
  if not (match := _DEEP.fullmatch(raw)):
    return None
  mode, order = match.groups()
  high = np.asarray(pil).astype(np.uint16)
  file.seek(0)
  with Image.open(file) as again:
    _retile(again, f"{mode};16{_OTHER[_NATIVE if order == 'N' else order]}")
    return high << 8 | np.asarray(again)


def _raw_mode(pil: ImageFile.ImageFile) -> str:
  """How a file's pixels are stored in Pillow's terms, "RGB;16B"; or ""."""
  args = pil.tile[0][3] if getattr(pil, "tile", None) else ""
  args = args[0] if isinstance(args, tuple) and args else args
  return args if isinstance(args, str) else ""


def _retile(pil: ImageFile.ImageFile, raw: str) -> None:
  """Makes Pillow decode a file's pixels as another layout."""
  pil.tile = [
    t._replace(args=(raw, *t.args[1:]) if isinstance(t.args, tuple) else raw)
    for t in pil.tile
  ]


def _text(pil: ImageFile.ImageFile) -> dict[str, str]:
  """A PNG file's text chunks, without those that hold EXIF data or XMP.

  These would restore the orientation.
  """
  return {
    key: value
    for key, value in getattr(pil, "text", {}).items()
    if key != "XML:com.adobe.xmp" and not key.startswith("Raw profile type")
  }


def _webp_coding(file: BinaryIO) -> bytes | None:
  """How the first frame of a WebP file is coded; None for other files."""
  file.seek(0)
  header = file.read(12)
  if header[:4] != b"RIFF" or header[8:] != b"WEBP":
    return None
  while len(head := file.read(8)) == 8:
    kind, size = struct.unpack("<4sI", head)
    if kind in (_LOSSLESS, _LOSSY):
      return kind
    # An animation's frame is a chunk that contains those of the image.
    file.seek(16 if kind == b"ANMF" else size + size % 2, 1)
  return None


def _density(dpi: Any, sideways: bool) -> tuple[float, float] | None:
  """Pixels per inch of the upright image; None if missing or senseless."""
  try:
    across, down = map(float, dpi)
  except (TypeError, ValueError, ArithmeticError):
    return None
  if not all(math.isfinite(d) and d > 0 for d in (across, down)):
    return None
  return (down, across) if sideways else (across, down)


def _simple(
  pil: Image.Image, icc: bytes | None
) -> tuple[Image.Image, bytes | None]:
  """An image of 8 bits or fewer as L, LA, RGB or RGBA; and its profile."""
  mode = pil.mode
  clear = "transparency" in pil.info
  if mode in ("1", "L", "LA", "La"):
    return pil.convert("LA" if clear or mode in ("LA", "La") else "L"), icc
  if mode in ("P", "PA", "RGBA", "RGBa", "RGB"):
    target = "RGBA" if clear or mode not in ("P", "RGB") else "RGB"
    return (pil if mode == target else pil.convert(target)), icc
  if mode == "CMYK" and icc:
    try:
      source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
      srgb = ImageCms.createProfile("sRGB")
      rgb = ImageCms.profileToProfile(pil, source, srgb, outputMode="RGB")
      if rgb is not None:  # None is for inPlace alone
        return rgb, None
    except (OSError, ImageCms.PyCMSError):
      pass  # ignore a broken profile
  # The profile of another color space does not describe RGB.
  return pil.convert("RGB"), None if mode in ("CMYK", "LAB") else icc
