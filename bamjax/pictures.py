"""Picture files with all that they hold: depth, alpha, profile, EXIF."""

import dataclasses
import io
import logging
from pathlib import Path
import re
import struct
import sys
import warnings
import zlib

import numpy as np
from PIL import Image
from PIL import ImageCms
from PIL import ImageOps

from bamjax import png16
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
_DEEP = re.compile(r"(RGB|RGBA);16([BLN])")
_EXIF_IFD, _WIDTH, _HEIGHT, _ORIENTATION = 0x8769, 0xA002, 0xA003, 0x0112
_INNER_IFDS = (_EXIF_IFD, 0x8825)  # of the camera, of the place
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
  """

  color: np.ndarray
  alpha: np.ndarray | None = None
  gray: bool = False
  icc: bytes | None = None
  dpi: tuple[float, float] | None = None
  exif: Image.Exif | None = None


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
  )


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
  inner = {tag: exif.get_ifd(tag) for tag in _INNER_IFDS}
  for tag, value in exif.items():
    if tag not in (*_STORAGE_TAGS, *_INNER_IFDS):
      kept[tag] = value
  for tag, values in inner.items():
    if values:
      kept.get_ifd(tag).update(values)
  return kept if kept or any(inner.values()) else None


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
  for tag in _INNER_IFDS if kind != "TIFF" else ():
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
