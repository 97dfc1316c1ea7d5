"""Benchmarks on disk: Set5, Set14, BSD100, Urban100, Manga109, realSR7, ….

People keep them in many ways. An image's role (HR or LR), its scale and the
name that pairs the two are told by its own name and by those of its folders:

    Set5/HR/baby.png            Set5/LR_bicubic/X2/babyx2.png
    Set5/HR/x2/baby_HR_x2.png   Set5/LRBI/x2/baby_LRBI_x2.png
    Set5/GTmod12/baby.png       Set5/LRbicx2/baby.png
    Set5/image_SRF_2/img_001_SRF_2_HR.png            …/img_001_SRF_2_LR.png
    RealSR/Canon_001_HR.png     RealSR/Canon_001_LR2.png
    Set5/baby.bmp               LR is then made
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

from bamjax.errors import UserError
from bamjax.errors import warn_once
from bamjax.files import readable
from bamjax.images import resize
from bamjax.images import rgb

_DEPTH = 4  # folders between a benchmark and its images, at most

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
# Other degradations, and other methods' results beside the images.
_OTHER_FOLDER = re.compile(
  r"(?:^|[_-])(?:lr_?(?:bd|dn|unknown)|sr|results?)(?=$|[_-]|x)", re.IGNORECASE
)
_FOLDER_SCALE = re.compile(r"(?:x|SRF_)(\d)$", re.IGNORECASE)

# What the folder may be called, for the paper's names.
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
  """An image of a benchmark, read when asked for.

  Attributes:
    name: what HR and LR share.
    hr: file of the HR image; None where there is LR only.
    lr: file of the LR image; None where it is to be made.
    scale: what LR is smaller by.
  """

  name: str
  hr: Path | None
  lr: Path | None
  scale: int

  def load(self) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Reads LR and HR, H×W×3 uint8, HR uncropped; None as the files are.

    Grayscale is repeated in three channels, as the field's codes do.

    Raises:
      UserError: a file cannot be read, or LR and HR do not fit.
    """
    hr, lr = (path and rgb.read_rgb(path) for path in (self.hr, self.lr))
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
  """

  name: str
  images: Sequence[Loadable]
  folder: str = ""


@dataclasses.dataclass(frozen=True)
class Benchmark(ImageSet):
  """Images of a folder at one scale.

  Attributes:
    name: of the benchmark.
    images: its images.
    folder: where they are: others may share the name.
  """

  images: list[BenchmarkImage]


@dataclasses.dataclass(frozen=True)
class _File:
  """An image file, as its names tell it."""

  path: Path
  key: str
  role: str | None  # "hr", "lr", "other", or None where no name tells
  scale: int | None


def find_benchmark(folder: str | Path, scale: int) -> Benchmark:
  """Finds a benchmark's images at one scale; reads none yet.

  Args:
    folder: in one of the layouts that this file describes.
    scale: upscaling factor. LR files of other scales are passed over; where
      there is none of this scale, LR is to be made.

  Raises:
    UserError: there is no such folder, or no image in it at this scale.
  """
  folder = Path(folder)
  if not folder.is_dir():
    raise UserError(f"there is no folder {folder}")
  hr, lr = _split([_classify(folder, p) for p in _images(folder)], scale)
  if hr and lr and not hr.keys() & lr.keys():
    raise UserError(
      f"{folder}, ×{scale}: no LR file fits an HR file by name"
      f" ({min(lr.values())}, {min(hr.values())}); rename them, or move the LR"
      " files away to have LR made by bicubic"
    )
  keys = hr.keys() or lr.keys()  # LR alone is upscaled, and not scored
  for text, names in (
    ("is made by bicubic", hr.keys() - lr.keys()),
    ("has no HR and is left out", lr.keys() - hr.keys()),
  ):
    if hr and lr and names:
      logging.warning(
        "%s, ×%d: LR of %s %s", folder, scale, ", ".join(sorted(names)), text
      )
  if not keys:
    raise UserError(
      f"the folder {folder} holds no image for ×{scale}"
      f" ({', '.join(rgb.EXTENSIONS)})"
    )
  images = [
    BenchmarkImage(readable(key), hr.get(key), lr.get(key), scale)
    for key in sorted(keys)
  ]
  return Benchmark(benchmark_name(folder), images, str(folder.resolve()))


def benchmark_name(folder: str | Path) -> str:
  """The paper's name of a benchmark by that of its folder, or the latter."""
  path = Path(folder).resolve()
  name = path.parent.name if _HR_FOLDER.fullmatch(path.name) else path.name
  return _NAMES.get(name.lower(), readable(name))


def _images(folder: Path) -> list[Path]:
  """Image files, links that lead nowhere among them; counts what else is."""
  found, others = [], []
  for root, folders, names in os.walk(folder, followlinks=True):
    here = Path(root)
    deepest = len(here.relative_to(folder).parts) == _DEPTH - 1
    for name in (n for n in names if not n.startswith(".")):
      is_image = Path(name).suffix.lower() in rgb.EXTENSIONS
      (found if is_image else others).append(here / name)
    inner = [here / name for name in folders if not name.startswith(".")]
    entered = [] if deepest else [p for p in inner if not _loops(p)]
    others += [path for path in inner if path not in entered]
    folders[:] = [path.name for path in entered]
  if others:
    warn_once(f"{folder}: passed over {rgb.count_kinds(others)}")
  return sorted(found)


def _loops(folder: Path) -> bool:
  """Whether it is a link to a folder that it lies in."""
  return folder.resolve() in (folder.parent.resolve() / "_").parents


def _classify(folder: Path, path: Path) -> _File:
  """What a file's name and its folders' names tell."""
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
  """Whether a.png beside a.jpg is an image of its own: no name tells more."""
  return (
    file.role is None
    and file.path.parent == first.parent
    and not _SUFFIX.fullmatch(file.key)
  )


def _split(
  files: Iterable[_File], scale: int
) -> tuple[dict[str, Path], dict[str, Path]]:
  """HR and LR files of a scale, by key."""
  found = {"hr": {}, "lr": {}, "other": {}, None: {}}
  twins = []
  for file in files:
    if file.scale in (None, scale) or file.role is None:
      first = found[file.role].setdefault(file.key, file.path)
      if first != file.path and _unlike(file, first):
        found[None][file.path.name] = file.path
      elif first != file.path and file.role != "other":
        twins.append(f"{file.path} (beside {first})")
  if twins:
    more = f" and {len(twins) - 1} more" if len(twins) > 1 else ""
    logging.warning("left out, twins by name: %s%s", twins[0], more)
  hr, lr = found["hr"], found["lr"]
  if hr:  # the benchmark names its HR: other images are none of it
    if strangers := sorted(found[None].values()):
      made = "" if lr else ", and LR is made by bicubic"
      warn_once(
        f"{strangers[0].parent}: passed over {len(strangers)} whose names tell"
        f" neither HR nor LR ({strangers[0].name}, …){made}"
      )
    return hr, lr
  for key, path in found[None].items():
    # "babyx2" beside "baby" is its LR; without it, an image of that name.
    match = _SUFFIX.fullmatch(key)
    if not match or match["key"] not in found[None]:
      hr[key] = path
    elif int(match["scale"]) == scale:
      lr.setdefault(match["key"], path)
  return hr, lr
