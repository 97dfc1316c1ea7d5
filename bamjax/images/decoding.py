"""Reads image files with all that they hold: depth, alpha, profile, EXIF."""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import io
import logging
import math
import os
from pathlib import Path
import re
import stat
import struct
import sys
from typing import Any
from typing import BinaryIO
import warnings

import numpy as np
from PIL import Image
from PIL import ImageCms
from PIL import PngImagePlugin
from PIL import UnidentifiedImageError

from bamjax.errors import UserError
from bamjax.errors import warn_once
from bamjax.images import tiff

# A profile or a text of more than Pillow's 1 MiB is no attack. Its bound on all
# texts of a file, 64 MiB, stays.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
_DEEP = re.compile(r"(RGB|RGBA);16([BLN])")
_GRAY_STEPS = {"L;2": 85, "L;4": 17}  # of gray with less than 8 bits
_ORIENTATION = 0x0112
_TURNS = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}
INNER_IFDS = (0x8769, 0x8825)  # of the camera, of the place
# TIFF's tags of how pixels are stored, which are not the new file's.
_STORAGE_TAGS = (
  *(0x00FE, 0x0100, 0x0101, 0x0102, 0x0103, 0x0106, 0x0111, 0x0115, 0x0116),
  *(0x0117, 0x011A, 0x011B, 0x011C, 0x0128, 0x013D, 0x0140, 0x0142, 0x0143),
  *(0x0144, 0x0145, 0x014A, 0x0152, 0x0153, 0x0201, 0x0202, 0x02BC, 0x8649),
  *(0x8773, _ORIENTATION),
)


@dataclasses.dataclass(frozen=True)
class ImageData:
  """An image, upright.

  Attributes:
    color: H×W×3, uint8 or uint16; of a gray image, three times the same.
    alpha: H×W of the same dtype; None where all is opaque.
    gray: whether it is a gray image.
    icc: its colour profile.
    dpi: pixels per inch across and down, of the upright image.
    exif: its EXIF data, without an orientation.
    text: what a PNG file says in words, by keyword.
    lossless: whether it comes from a lossless WebP file.
    gamma: the exponent that a PNG file says its values were made with, 1/2.2
      as a rule.
  """

  color: np.ndarray
  alpha: np.ndarray | None = None
  gray: bool = False
  icc: bytes | None = None
  dpi: tuple[float, float] | None = None
  exif: Image.Exif | None = None
  text: Mapping[str, str] = dataclasses.field(default_factory=dict)
  lossless: bool = False
  gamma: float | None = None


def read(path: str | Path, *, metadata: bool = True) -> ImageData:
  """Reads a PNG, JPEG, WebP, TIFF or BMP file.

  16 bits a channel stay where they are RGB or gray, with alpha or without.
  Palettes are looked up. CMYK and Lab become sRGB. Of several frames or pages
  the first is taken, and a warning says so.

  Args:
    path: of the file.
    metadata: whether EXIF data, text and the like are wanted too.

  Raises:
    UserError: the file is absent, no regular file, cut short, no image, or of
      a kind that has no place here (32 bits a channel).
  """
  try:
    with warnings.catch_warnings():
      # Pillow warns of odd metadata in images that read well, and of large
      # images, which the user has named.
      warnings.simplefilter("ignore")
      # Opening a FIFO would wait for somebody to write.
      if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("it is no regular file")
      # By its path, Pillow maps some files into memory, and scrambles those of
      # them that are to be turned.
      with open(path, "rb") as file:
        return _read(path, file, metadata)
  except FileNotFoundError:
    link = os.path.islink(path)
    raise UserError(
      f"{path} is a link to nothing" if link else f"there is no file {path}"
    ) from None
  # Damaged bytes can raise nearly anything in Pillow's plugins.
  except Exception as error:
    raise UserError(
      f"{path} cannot be read as an image ({_reason(error)})"
    ) from None


def to_8_bits(values: np.ndarray) -> np.ndarray:
  """uint16 rounded to uint8; uint8 as it is."""
  if values.dtype == np.uint8:
    return values
  return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _reason(error: Exception) -> str:
  if isinstance(error, UnidentifiedImageError):
    return "it is of no known kind"
  if isinstance(error, MemoryError):
    return "it does not fit into memory"
  text = (isinstance(error, OSError) and error.strerror) or str(error)
  text = " ".join(text.split()) or type(error).__name__
  # Others speak of the reader's code, not of the file.
  plain = OSError, ValueError, SyntaxError, Image.DecompressionBombError
  return text if isinstance(error, plain) else f"it is damaged: {text}"


def _read(path: str | Path, file: BinaryIO, metadata: bool) -> ImageData:
  if deep := tiff.read(file):
    color, alpha, info = deep
    icc, is_gray = info["icc_profile"], color.shape[2] == 1
    exif, text = (_tiff_exif(path, file, info) if metadata else None), {}
  else:
    with Image.open(file) as pil:
      frames = getattr(pil, "n_frames", 1)
      # Pillow turns TIFF by itself, and forgets that it did.
      turned = getattr(pil, "tag_v2", {}).get(_ORIENTATION)
      color, alpha, icc, is_gray, exif = _pixels(path, pil, file)
      turned = turned or exif.get(_ORIENTATION)
      # An MPO's other frames are previews.
      frames = 1 if pil.format == "MPO" else frames
      info = {**pil.info, "n_frames": frames}
      if turned in tiff.SIDEWAYS and isinstance(info.get("dpi"), tuple):
        info["dpi"] = info["dpi"][::-1]
      if pil.format != "PNG":
        info.pop("gamma", None)
      exif = _try_exif(path, lambda: _described(exif)) if metadata else None
      text = _text(pil) if metadata else {}
  if info["n_frames"] > 1:
    warn_once(f"{path} has several frames or pages; the first is taken")
  if is_gray:
    color = np.broadcast_to(color, (*color.shape[:2], 3))
  return ImageData(
    color=color,
    alpha=alpha,
    gray=is_gray,
    icc=icc,
    dpi=_density(info.get("dpi")),
    gamma=info.get("gamma") or None,
    exif=exif,
    text=text,
    lossless=metadata and _is_lossless_webp(file),
  )


def _pixels(path, pil: Image.Image, file: BinaryIO):
  """Colour H×W×C, alpha, profile, whether it is gray, and EXIF data."""
  raw = _raw_mode(pil)
  if raw == "LA;16B":
    # Pillow drops half of its bits; as RGBA, its four bytes a pixel are kept.
    _retile(pil, "RGBA")
  pil.load()
  # Of a TIFF file, the orientation is undone now and no longer in here.
  exif = _try_exif(path, pil.getexif) or Image.Exif()
  turn = _TURNS.get(exif.get(_ORIENTATION))

  def upright(pil):
    return pil if turn is None else pil.transpose(turn)

  icc, key = pil.info.get("icc_profile"), pil.info.get("transparency")
  if pil.mode in ("I", "F"):
    raise ValueError("it has 32 bits a channel; 8 and 16 are known")
  deep, alpha = None, None
  if pil.mode.startswith("I;16"):
    # In the machine's own order of bytes.
    deep = np.asarray(upright(pil)).astype(np.uint16, copy=False)[..., None]
  elif raw == "LA;16B":
    pair = np.ascontiguousarray(upright(pil)).view(">u2").astype(np.uint16)
    deep, alpha = pair[..., :1], pair[..., 1]
  elif _DEEP.fullmatch(raw):
    high = np.asarray(upright(pil)).astype(np.uint16)
    # Read once more, as if the bytes stood in the other order.
    file.seek(0)
    with Image.open(file) as again:
      _retile(again, _swapped(raw))
      deep = high << 8 | np.asarray(upright(again))
    if deep.shape[2] == 4:
      deep, alpha = deep[..., :3], deep[..., 3]
  if deep is not None:
    if key is not None:
      alpha = np.where((deep == key).all(axis=-1), 0, 65535).astype(np.uint16)
    return deep, alpha, icc, deep.shape[2] == 1, exif
  if raw in _GRAY_STEPS and isinstance(key, int):
    pil.info["transparency"] = key * _GRAY_STEPS[raw]
  simple, icc, is_gray = _simple(upright(pil), icc)
  bands = np.asarray(simple)
  bands = bands if bands.ndim == 3 else bands[..., None]
  if simple.mode in ("LA", "RGBA"):
    bands, alpha = bands[..., :-1], bands[..., -1]
  return bands, alpha, icc, is_gray, exif


def _text(file: Image.Image) -> dict[str, str]:
  """The words of a PNG file, but for EXIF and XMP that are kept as such.

  Those would bring back the orientation.
  """
  return {
    key: value
    for key, value in getattr(file, "text", {}).items()
    if key != "XML:com.adobe.xmp" and not key.startswith("Raw profile type")
  }


def _is_lossless_webp(file: BinaryIO) -> bool:
  """Whether the first frame of a file is one of WebP's lossless ones."""
  file.seek(0)
  header = file.read(12)
  if header[:4] != b"RIFF" or header[8:] != b"WEBP":
    return False
  while len(head := file.read(8)) == 8:
    kind, size = struct.unpack("<4sI", head)
    if kind in (b"VP8L", b"VP8 "):
      return kind == b"VP8L"
    # The chunks of a frame stand within one of its own.
    file.seek(16 if kind == b"ANMF" else size + size % 2, 1)
  return False


def _raw_mode(pil: Image.Image) -> str:
  """How the file stores a pixel, in Pillow's words, "RGB;16B"; or ""."""
  args = pil.tile[0][3] if getattr(pil, "tile", None) else ""
  args = args[0] if isinstance(args, tuple) and args else args
  return args if isinstance(args, str) else ""


def _retile(pil: Image.Image, raw: str) -> None:
  """Makes Pillow take the file's pixels for others."""
  pil.tile = [
    t._replace(args=raw if isinstance(t[3], str) else (raw, *t[3][1:]))
    for t in pil.tile
  ]


def _swapped(raw: str) -> str:
  """A mode of 16 bits, by whose name Pillow reads the low bytes."""
  mode, order = _DEEP.fullmatch(raw).groups()
  native = "L" if sys.byteorder == "little" else "B"
  order = native if order == "N" else order
  return f"{mode};16{'L' if order == 'B' else 'B'}"


def _try_exif(
  path: str | Path, load: Callable[[], Image.Exif | None]
) -> Image.Exif | None:
  """EXIF data; None, and a warning, where they are damaged."""
  try:
    return load()
  except Exception as error:
    logging.warning("%s: no EXIF data is read (%s)", path, _reason(error))
    return None


def _tiff_exif(
  path: str | Path, file: BinaryIO, info: Mapping[str, Any]
) -> Image.Exif | None:
  def load():
    exif = Image.Exif()
    # By itself, Pillow takes the header of BigTIFF for TIFF's.
    exif.endian, exif.bigtiff = info["endian"], info["bigtiff"]
    if exif.bigtiff and exif.endian == ">":
      raise ValueError("Pillow has no big-endian BigTIFF")
    exif.load_from_fp(file, info["offset"])
    return _described(exif)

  return _try_exif(path, load)


def _density(dpi: Any) -> tuple[float, float] | None:
  """Pixels per inch, where there are sensible ones."""
  try:
    across, down = map(float, dpi)
  except (TypeError, ValueError, ArithmeticError):
    return None
  sensible = all(math.isfinite(d) and d > 0 for d in (across, down))
  return (across, down) if sensible else None


def _simple(
  pil: Image.Image, icc: bytes | None
) -> tuple[Image.Image, bytes | None, bool]:
  """As L, LA, RGB or RGBA; its profile; and whether it is gray."""
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
      return rgb, None, False
    except (OSError, ImageCms.PyCMSError):
      pass  # a broken profile, as good as none
  # A profile of other colours says nothing of RGB.
  icc = None if mode in ("CMYK", "LAB") else icc
  return pil.convert("RGB"), icc, False


def _described(exif: Image.Exif) -> Image.Exif | None:
  """EXIF data without what is about the file's own pixels."""
  kept = Image.Exif()
  inner = {tag: exif.get_ifd(tag) for tag in INNER_IFDS}
  for tag, value in exif.items():
    if tag not in (*_STORAGE_TAGS, *INNER_IFDS):
      kept[tag] = value
  for tag, values in inner.items():
    if values:
      kept.get_ifd(tag).update(values)
  return kept if kept or any(inner.values()) else None
