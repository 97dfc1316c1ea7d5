"""Reads picture files with all that they hold: depth, alpha, profile, EXIF."""

from collections.abc import Mapping
import dataclasses
import io
import logging
from pathlib import Path
import re
import struct
import sys
import warnings

import numpy as np
from PIL import Image
from PIL import ImageCms
from PIL import ImageOps

from bamjax.errors import UserError

_DEEP = re.compile(r"(RGB|RGBA);16([BLN])")
_ORIENTATION = 0x0112
INNER_IFDS = (0x8769, 0x8825)  # of the camera, of the place
# TIFF's tags of how pixels are stored, which are not the new file's.
_STORAGE_TAGS = (
  *(0x00FE, 0x0100, 0x0101, 0x0102, 0x0103, 0x0106, 0x0111, 0x0115, 0x0116),
  *(0x0117, 0x011A, 0x011B, 0x011C, 0x0128, 0x013D, 0x0140, 0x0142, 0x0143),
  *(0x0144, 0x0145, 0x014A, 0x0152, 0x0153, 0x0201, 0x0202, 0x02BC, 0x8649),
  *(0x8773, _ORIENTATION),
)


@dataclasses.dataclass(frozen=True)
class Picture:
  """A picture, upright.

  Attributes:
    color: H×W×3, uint8 or uint16; of a gray picture, three times the same.
    alpha: H×W of the same dtype; None where all is opaque.
    gray: whether it is a gray picture.
    icc: its colour profile.
    dpi: pixels per inch across and down.
    exif: its EXIF data, without an orientation.
    text: what a PNG file says in words, by keyword.
    lossless: whether it comes from a lossless WebP file.
  """

  color: np.ndarray
  alpha: np.ndarray | None = None
  gray: bool = False
  icc: bytes | None = None
  dpi: tuple[float, float] | None = None
  exif: Image.Exif | None = None
  text: Mapping[str, str] = dataclasses.field(default_factory=dict)
  lossless: bool = False


def read(path: Path) -> Picture:
  """Reads a PNG, JPEG, WebP, TIFF or BMP file.

  16 bits a channel stay where they are RGB, RGBA or gray; gray with alpha gets
  8. Palettes are looked up. CMYK becomes sRGB.

  Raises:
    UserError: the file is absent, cut short, no picture, or of a kind that
      has no place here (32 bits a channel).
  """
  try:
    with warnings.catch_warnings():
      # Pillow warns of odd metadata in pictures that read well, and of large
      # pictures, which the user has named.
      warnings.simplefilter("ignore")
      return _read(path)
  except FileNotFoundError:
    raise UserError(f"there is no file {path}") from None
  # Damaged bytes can raise nearly anything in Pillow's plugins.
  except Exception as error:
    reason = " ".join(str(error).split()) or type(error).__name__
    raise UserError(f"{path} cannot be read as a picture ({reason})") from None


def _read(path: Path) -> Picture:
  with Image.open(path) as file:
    if getattr(file, "n_frames", 1) > 1:
      logging.warning("%s has several frames; the first is taken", path)
    info = dict(file.info)
    raw = _raw_mode(file)
    exif = _described(file.getexif())
    upright = ImageOps.exif_transpose(file)
    text = _text(file)
  icc = info.get("icc_profile")
  if upright.mode in ("I", "F"):
    raise ValueError("it has 32 bits a channel; 8 and 16 are known")
  if upright.mode.startswith("I;16"):
    deep = np.asarray(upright)
    # In the machine's own order of bytes.
    gray = deep.astype(np.uint16, copy=False)[..., None]
    color, alpha, is_gray = np.broadcast_to(gray, (*deep.shape, 3)), None, True
  else:
    if raw.startswith("LA;"):  # read as RGBA, 8 bits of 16
      upright = upright.convert("LA")
    upright, icc, is_gray = _simple(upright, icc)
    bands = np.asarray(upright)
    if _DEEP.fullmatch(raw):
      bands = bands.astype(np.uint16) << 8 | _low_bytes(path, raw)
    bands = bands if bands.ndim == 3 else bands[..., None]
    alpha = bands[..., -1] if upright.mode in ("LA", "RGBA") else None
    if is_gray:
      color = np.broadcast_to(bands[..., :1], (*bands.shape[:2], 3))
    else:
      color = bands[..., :3]
  dpi = info.get("dpi")
  return Picture(
    color=color,
    alpha=alpha,
    gray=is_gray,
    icc=icc,
    dpi=tuple(map(float, dpi)) if dpi and all(dpi) else None,
    exif=exif,
    text=text,
    lossless=_is_lossless_webp(path),
  )


def _text(file: Image.Image) -> dict[str, str]:
  """The words of a PNG file, but for EXIF and XMP that are kept as such.

  Those would bring back the orientation.
  """
  return {
    key: value
    for key, value in getattr(file, "text", {}).items()
    if key != "XML:com.adobe.xmp" and not key.startswith("Raw profile type")
  }


def _is_lossless_webp(path: Path) -> bool:
  """Whether the first frame of a file is one of WebP's lossless ones."""
  with path.open("rb") as file:
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


def _raw_mode(file: Image.Image) -> str:
  """How the file stores a pixel, in Pillow's words, "RGB;16B"; or ""."""
  args = file.tile[0][3] if getattr(file, "tile", None) else ""
  args = args[0] if isinstance(args, tuple) and args else args
  return args if isinstance(args, str) else ""


def _low_bytes(path: Path, raw: str) -> np.ndarray:
  """The low bytes of 16-bit pixels, of which Pillow reads the high ones.

  Read once more, as if the bytes stood in the other order.
  """
  mode, order = _DEEP.fullmatch(raw).groups()
  native = "L" if sys.byteorder == "little" else "B"
  order = native if order == "N" else order
  other = f"{mode};16{'L' if order == 'B' else 'B'}"
  with Image.open(path) as file:
    file.tile = [
      t._replace(args=other if isinstance(t[3], str) else (other, *t[3][1:]))
      for t in file.tile
    ]
    return np.asarray(ImageOps.exif_transpose(file))


def _simple(
  picture: Image.Image, icc: bytes | None
) -> tuple[Image.Image, bytes | None, bool]:
  """As L, LA, RGB or RGBA; its profile; and whether it is gray."""
  mode = picture.mode
  clear = "transparency" in picture.info
  if mode in ("1", "L", "LA", "La"):
    alpha = clear or mode in ("LA", "La")
    return picture.convert("LA" if alpha else "L"), icc, True
  if mode in ("P", "PA", "RGBA", "RGBa", "RGB"):
    alpha = clear or mode not in ("P", "RGB")
    target = "RGBA" if alpha else "RGB"
    return (picture if mode == target else picture.convert(target)), icc, False
  if mode == "CMYK" and icc:
    try:
      source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
      srgb = ImageCms.createProfile("sRGB")
      rgb = ImageCms.profileToProfile(picture, source, srgb, outputMode="RGB")
      return rgb, None, False
    except (OSError, ImageCms.PyCMSError):
      pass  # a broken profile, as good as none
  # A profile of the other colours says nothing of RGB.
  return picture.convert("RGB"), None if mode == "CMYK" else icc, False


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
