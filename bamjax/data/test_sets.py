"""Finds test sets on disk: Set5, Set14, BSD100, Urban100, Manga109, realSR7, …

Many layouts are in use. An image's role (HR or LR), its scale and the name that
links LR to HR are inferred from its file name and the names of its folders:

    Set5/HR/baby.png            Set5/LR_bicubic/X2/babyx2.png
    Set5/HR/x2/baby_HR_x2.png   Set5/LRBI/x2/baby_LRBI_x2.png
    Set5/GTmod12/baby.png       Set5/LRbicx2/baby.png
    Set5/image_SRF_2/img_001_SRF_2_HR.png            …/img_001_SRF_2_LR.png
    RealSR/Canon_001_HR.png     RealSR/Canon_001_LR2.png
    Set5/baby.bmp               HR only: LR is made by bicubic downscaling
    RealSet/LR/photo.jpg        LR only: upscaled, not scored
"""

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import logging
import os
from pathlib import Path
import re
from typing import Protocol

import numpy as np

from bamjax.data.degradation.degrader import Degrader
from bamjax.errors import UserError
from bamjax.errors import warn_once
from bamjax.files import readable
from bamjax.images import resize
from bamjax.images import rgb
from bamjax.terminal import counted

_logger = logging.getLogger(__name__)

_DEPTH = 4  # maximum depth of images below a test set's folder

_SRF = re.compile(r"(?P<key>.+)_SRF_(?P<scale>\d)_(?P<role>\w+)")
_SUFFIX = re.compile(
  r"(?P<key>.+?)(?:[_-]?(?P<role>HR|GT|LRBI|LR|BI))?[_-]?x(?P<scale>\d)",
  re.IGNORECASE,
)
_ROLE = re.compile(
  r"(?P<key>.+)[_-](?P<role>HR|GT|LRBI|LR)(?P<scale>\d)?", re.IGNORECASE
)
_HR_FOLDER = re.compile(
  r"(?:^|[_-])(?:hr|gt|gtmod\d+|original|ground_?truth)(?=$|[_-])",
  re.IGNORECASE,
)
_LR_FOLDER = re.compile(
  r"(?:^|[_-])lr(?=$|[_-]|bi|x)|^x\d$|bicubic", re.IGNORECASE
)
# Other degradations, and results of other methods.
_OTHER_FOLDER = re.compile(
  r"(?:^|[_-])(?:lr_?(?:bd|dn|unknown)|sr|results?)(?=$|[_-]|x)", re.IGNORECASE
)
_FOLDER_SCALE = re.compile(r"(?:x|SRF_)(\d)$", re.IGNORECASE)

# The paper's names of test sets, by lower-case names of folders.
_NAMES = {
  "set5": "Set5",
  "set14": "Set14",
  "bsd100": "BSD100",
  "b100": "BSD100",
  "bsds100": "BSD100",
  "urban100": "Urban100",
  "manga109": "Manga109",
  "realsr7": "realSR7",
}


@dataclasses.dataclass(frozen=True)
class BenchmarkImage:
  """An image of a test set, read on demand.

  Attributes:
    name: the part of the file names that HR and LR share.
    hr: the HR file; None if there is only LR.
    lr: the LR file; None if LR must be made.
    scale: upscaling factor.
  """

  name: str
  hr: Path | None
  lr: Path | None
  scale: int

  def load(self) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Reads LR and HR.

    Grayscale images are repeated in three channels, as is usual in the field.

    Returns:
      LR, h×w×3, and uncropped HR, H×W×3, uint8; None for a missing file.

    Raises:
      UserError: a file cannot be read, or the sizes of LR and HR do not fit.
    """
    hr, lr = (
      None if path is None else rgb.read_rgb(path)
      for path in (self.hr, self.lr)
    )
    if hr is not None and min(hr.shape[:2]) < self.scale:
      raise UserError(f"{self.hr} is smaller than {self.scale} pixels")
    if hr is not None and lr is not None:
      expected = resize.mod_crop(hr, self.scale).shape[:2]
      if expected != tuple(n * self.scale for n in lr.shape[:2]):
        raise UserError(
          f"{self.lr} is {lr.shape[1]}×{lr.shape[0]}, {self.hr}"
          f" {hr.shape[1]}×{hr.shape[0]}: they do not fit at ×{self.scale}"
        )
    return lr, hr


class Loadable(Protocol):
  """An image of an `ImageSet`."""

  @property
  def name(self) -> str:
    """For tables and messages."""

  def load(self) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Reads LR h×w×3 and HR sh×sw×3, uint8; None for a missing one."""


@dataclasses.dataclass(frozen=True)
class ImageSet:
  """Images at one scale: a benchmark, or the validation images of a run.

  Attributes:
    name: its name.
    images: the images.
    folder: where they are, as several sets may share a name; or "".
    degrader: degrades LR, if not None.
  """

  name: str
  images: Sequence[Loadable]
  folder: str = ""
  degrader: Degrader | None = None

  @property
  def label(self) -> str:
    """Its name, and what degrades its LR, for titles."""
    return self.name + (f" with {self.degrader.name}" if self.degrader else "")


@dataclasses.dataclass(frozen=True)
class Benchmark(ImageSet):
  """A test set in a folder, at one scale.

  Attributes:
    name: its name.
    images: its images.
    folder: its folder, which distinguishes test sets with the same name.
    degrader: degrades LR, if not None.
  """

  images: list[BenchmarkImage]


@dataclasses.dataclass(frozen=True)
class _File:
  """An image file, and what its name and folders say about it."""

  path: Path
  key: str
  role: str | None  # "hr", "lr", "other", or None if unknown
  scale: int | None


def find_benchmark(folder: str | Path, scale: int) -> Benchmark:
  """Finds a test set's images at one scale without reading them.

  Args:
    folder: the test set, in one of the layouts described above.
    scale: upscaling factor. LR files of other scales are ignored; if there are
      none of this scale, LR must be made.

  Raises:
    UserError: the folder does not exist or has no image at this scale.
  """
  folder = Path(folder)
  if not folder.is_dir():
    raise UserError(f"there is no folder {folder}")
  hr, lr = _split([_classify(folder, p) for p in _images(folder)], scale)
  if hr and lr and not hr.keys() & lr.keys():
    raise UserError(
      f"{folder}, ×{scale}: no LR file matches an HR file by name"
      f" ({min(lr.values())}, {min(hr.values())}); rename them, or move the LR"
      " files away to make LR by bicubic downscaling"
    )
  keys = hr.keys() or lr.keys()  # without HR, LR is upscaled but not scored
  for text, names in (
    ("is made by bicubic downscaling", hr.keys() - lr.keys()),
    ("has no HR and is skipped", lr.keys() - hr.keys()),
  ):
    if hr and lr and names:
      _logger.warning(
        "%s, ×%d: LR of %s %s", folder, scale, ", ".join(sorted(names)), text
      )
  if not keys:
    raise UserError(
      f"the folder {folder} has no image for ×{scale}"
      f" ({', '.join(rgb.EXTENSIONS)})"
    )
  images = [
    BenchmarkImage(readable(key), hr.get(key), lr.get(key), scale)
    for key in sorted(keys)
  ]
  return Benchmark(benchmark_name(folder), images, str(folder.resolve()))


def benchmark_name(folder: str | Path) -> str:
  """Returns the paper's name of a test set, or else its folder's name."""
  path = Path(folder).resolve()
  name = path.parent.name if _HR_FOLDER.fullmatch(path.name) else path.name
  return _NAMES.get(name.lower(), readable(name))


def _images(folder: Path) -> list[Path]:
  """Image files, dangling links included; warns of other files and folders."""
  found: list[Path] = []
  others: list[Path] = []
  for root, folders, names in os.walk(folder, followlinks=True):
    here = Path(root)
    deepest = len(here.relative_to(folder).parts) == _DEPTH - 1
    for name in (n for n in names if not n.startswith(".")):
      (found if rgb.is_image(name) else others).append(here / name)
    inner = [here / name for name in folders if not name.startswith(".")]
    entered = [] if deepest else [p for p in inner if not _loops(p)]
    others += [path for path in inner if path not in entered]
    folders[:] = [path.name for path in entered]
  if others:
    warn_once(f"{folder}: ignored {rgb.count_kinds(others)}")
  return sorted(found)


def _loops(folder: Path) -> bool:
  """Whether a folder is a link to one of its own parents."""
  return folder.resolve() in (folder.parent.resolve() / "_").parents


def _classify(folder: Path, path: Path) -> _File:
  """Infers a file's role, scale and key from its name and its folders."""
  role = scale = None
  for part in path.relative_to(folder).parts[:-1]:
    if _OTHER_FOLDER.search(part):
      role = "other"
    elif _HR_FOLDER.search(part):
      role = "hr"
    elif role is None and _LR_FOLDER.search(part):
      role = "lr"
    if match := _FOLDER_SCALE.search(part):
      scale = int(match[1])
  if match := _SRF.fullmatch(path.stem):
    roles = {"hr": "hr", "lr": "lr"}
    role = roles.get(match["role"].lower(), "other")
    return _File(path, match["key"], role, int(match["scale"]))
  match = _SUFFIX.fullmatch(path.stem) or _ROLE.fullmatch(path.stem)
  if match and (match["role"] or role == "lr"):
    found = match.groupdict()
    if found["role"] and role != "other":
      role = "hr" if found["role"].lower() in ("hr", "gt") else "lr"
    scale = int(found.get("scale") or 0) or scale
    return _File(path, match["key"], role, scale)
  return _File(path, path.stem, role, scale)


def _unlike(file: _File, first: Path) -> bool:
  """Whether a.png next to a.jpg is another image: neither says HR or LR."""
  return (
    file.role is None
    and file.path.parent == first.parent
    and not _SUFFIX.fullmatch(file.key)
  )


def _split(
  files: Iterable[_File], scale: int
) -> tuple[dict[str, Path], dict[str, Path]]:
  """Returns the HR and the LR files of a scale by key."""
  found: dict[str | None, dict[str, Path]] = {
    "hr": {},
    "lr": {},
    "other": {},
    None: {},
  }
  twins = []
  for file in files:
    if file.scale in (None, scale) or file.role is None:
      first = found[file.role].setdefault(file.key, file.path)
      if first != file.path and _unlike(file, first):
        found[None][file.path.name] = file.path
      elif first != file.path and file.role != "other":
        twins.append(f"{file.path} (next to {first})")
  if twins:
    more = f" and {len(twins) - 1} more" if len(twins) > 1 else ""
    _logger.warning("skipped duplicate names: %s%s", twins[0], more)
  hr, lr = found["hr"], found["lr"]
  if hr:  # HR files are named as such: other images are not part of the set
    if strangers := sorted(found[None].values()):
      made = "" if lr else ", and LR is made by bicubic downscaling"
      more = ", …" if len(strangers) > 1 else ""
      warn_once(
        f"{strangers[0].parent}: ignored {counted(len(strangers), 'image')}"
        f" named neither HR nor LR ({strangers[0].name}{more}){made}"
      )
    return hr, lr
  for key, path in found[None].items():
    # "babyx2" is the LR of "baby", or another image if there is no "baby".
    match = _SUFFIX.fullmatch(key)
    if not match or match["key"] not in found[None]:
      hr[key] = path
    elif int(match["scale"]) == scale:
      lr.setdefault(match["key"], path)
  return hr, lr
