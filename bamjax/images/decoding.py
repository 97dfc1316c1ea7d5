"""Reads image files with depth, alpha, color profile, EXIF data and text."""

from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import dataclasses
import io
import math
import os
from pathlib import Path
import stat
import struct
from typing import Any
from typing import BinaryIO
from typing import NamedTuple

import numpy as np
from PIL import Image
from PIL import ImageCms
from PIL import ImageFile
from PIL import UnidentifiedImageError

from bamjax.errors import UserError
from bamjax.errors import warn_once
from bamjax.images import claims
from bamjax.images import exif
from bamjax.images import png_chunks
from bamjax.images import sixteen_bits
from bamjax.images import tiff

# Factors from gray levels of fewer bits to 8 bits.
_GRAY_STEPS = {"L;2": 85, "L;4": 17}
# Formats of files, and compressions of TIFF, as Pillow names them.
_JPEG = {"JPEG", "MPO"}
_TIFF_JPEG = {"jpeg", "tiff_jpeg"}
# The two codings of a WebP image, by their chunks.
_LOSSLESS, _LOSSY = b"VP8L", b"VP8 "
_TURNS = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
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
      found = png_chunks.expanded(file)
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
  kept: Image.Exif | None = None
  text: dict[str, str] = {}
  jpeg = False
  if deep := tiff.read(file):
    color, alpha, info = deep
    icc, is_gray = info["icc_profile"], color.shape[2] == 1
    if metadata:
      kept = exif.attempt(
        path, lambda: exif.without_storage(exif.of_tiff(file, info))
      )
  else:
    with Image.open(file) as pil:
      frames = getattr(pil, "n_frames", 1)
      # Pillow orients TIFF files itself, and drops the tag.
      turned = getattr(pil, "tag_v2", {}).get(exif.ORIENTATION)
      color, alpha, icc, is_gray, tags = _pixels(path, pil, file)
      turned = turned or tags.get(exif.ORIENTATION)
      # The other frames of an MPO file are previews.
      frames = 1 if pil.format == "MPO" else frames
      info = {str(key): value for key, value in pil.info.items()}
      info["n_frames"] = frames
      if turned in tiff.SIDEWAYS and isinstance(info.get("dpi"), tuple):
        info["dpi"] = info["dpi"][::-1]
      if pil.format != "PNG":
        info.pop("gamma", None)
      if metadata:
        kept = exif.attempt(path, lambda: exif.without_storage(tags))
        text = _text(pil)
        jpeg = pil.format in _JPEG or info.get("compression") in _TIFF_JPEG
  if info["n_frames"] > 1:
    warn_once(f"{path} has several frames or pages; only the first is used")
  webp = _webp_coding(file) if metadata else None
  if is_gray:
    color = np.broadcast_to(color, (*color.shape[:2], 3))
  return ImageData(
    color=color,
    alpha=alpha,
    gray=is_gray,
    icc=icc,
    dpi=_density(info.get("dpi")),
    gamma=info.get("gamma") or None,
    exif=kept,
    text=text,
    lossless=webp == _LOSSLESS,
    lossy=jpeg or webp == _LOSSY,
  )


class _Pixels(NamedTuple):
  """What Pillow decodes: color is H×W×C, C being 1 (gray) or 3 (RGB)."""

  color: np.ndarray
  alpha: np.ndarray | None
  icc: bytes | None
  gray: bool
  exif: Image.Exif


def _pixels(
  path: str | Path, pil: ImageFile.ImageFile, file: BinaryIO
) -> _Pixels:
  """Decodes a file with Pillow, upright, with its depth and alpha."""
  claims.check(pil, file.seek(0, os.SEEK_END))
  raw = sixteen_bits.raw_mode(pil)
  sixteen_bits.load(pil, raw)
  # For TIFF, the orientation has been applied now and is no longer in the tags.
  tags = exif.attempt(path, pil.getexif) or Image.Exif()
  turn = _TURNS.get(tags.get(exif.ORIENTATION, 1))

  def upright(pil: Image.Image) -> Image.Image:
    return pil if turn is None else pil.transpose(turn)

  icc, key = pil.info.get("icc_profile"), pil.info.get("transparency")
  if pil.mode in ("I", "F"):
    raise ValueError("it has 32 bits per channel; only 8 and 16 are supported")
  alpha = None
  if (deep := sixteen_bits.read(pil, raw, file, upright)) is not None:
    if deep.shape[2] in (2, 4):
      deep, alpha = deep[..., :-1], deep[..., -1]
    if key is not None:
      alpha = np.where((deep == key).all(axis=-1), 0, 65535).astype(np.uint16)
    return _Pixels(deep, alpha, icc, deep.shape[2] == 1, tags)
  if raw in _GRAY_STEPS and isinstance(key, int):
    pil.info["transparency"] = key * _GRAY_STEPS[raw]
  simple, icc, is_gray = _simple(upright(pil), icc)
  bands = np.asarray(simple)
  bands = bands if bands.ndim == 3 else bands[..., None]
  if simple.mode in ("LA", "RGBA"):
    bands, alpha = bands[..., :-1], bands[..., -1]
  return _Pixels(bands, alpha, icc, is_gray, tags)


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


def _density(dpi: Any) -> tuple[float, float] | None:
  """Pixels per inch; None if they are missing or senseless."""
  try:
    across, down = map(float, dpi)
  except (TypeError, ValueError, ArithmeticError):
    return None
  sensible = all(math.isfinite(d) and d > 0 for d in (across, down))
  return (across, down) if sensible else None


def _simple(
  pil: Image.Image, icc: bytes | None
) -> tuple[Image.Image, bytes | None, bool]:
  """Converts an image of 8 bits or fewer.

  Returns:
    It as L, LA, RGB or RGBA; the profile of that; and whether it is gray.
  """
  mode = pil.mode
  clear = "transparency" in pil.info
  if mode in ("1", "L", "LA", "La"):
    alpha = clear or mode in ("LA", "La")
    return pil.convert("LA" if alpha else "L"), icc, True
  if mode in ("P", "PA", "RGBA", "RGBa", "RGB"):
    alpha = clear or mode not in ("P", "RGB")
    target = "RGBA" if alpha else "RGB"
    return (pil if mode == target else pil.convert(target)), icc, False
  if mode == "CMYK" and icc:
    try:
      source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
      srgb = ImageCms.createProfile("sRGB")
      rgb = ImageCms.profileToProfile(pil, source, srgb, outputMode="RGB")
      if rgb is not None:  # None is for inPlace alone
        return rgb, None, False
    except (OSError, ImageCms.PyCMSError):
      pass  # ignore a broken profile
  # The profile of another color space does not describe RGB.
  icc = None if mode in ("CMYK", "LAB") else icc
  return pil.convert("RGB"), icc, False
