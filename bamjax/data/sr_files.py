"""Super-resolved images that any program made, matched to a test set by name.

A file is named like its HR image. What follows the name is the same for all
files of the folder:

    baby.png   babyx4.png   baby_x4_SR.png   baby_HR_x4.png   baby_MyNet_9k.png

The files are in the folder itself, or in folders in it that are named after the
test set or the scale: DIR/Set5/x4.
"""

from collections.abc import Iterable
from collections.abc import Sequence
import contextlib
import dataclasses
from pathlib import Path
import re

import numpy as np

from bamjax.data.test_sets import Benchmark
from bamjax.data.test_sets import benchmark_name
from bamjax.data.test_sets import BenchmarkImage
from bamjax.data.test_sets import find_benchmark
from bamjax.errors import UserError
from bamjax.errors import warn_once
from bamjax.files import readable
from bamjax.images import rgb
from bamjax.terminal import counted

_DEPTH = 3  # folders to enter, at most

_SUFFIX = re.compile(r"$|[_\-. ]|x\d")  # how one begins
_SCALE = re.compile(
  r"(?:^|[_\-. ])(?:x|srf_)(\d)(?=$|[_\-. ])|x(\d)(?=$|[_\-. ])"
  r"|[_\-. ](\d)x(?=$|[_\-. ])",
  re.IGNORECASE,
)
# Some tools save what they read next to what they made.
_INPUT = re.compile(r"[_\-. ](?:hr|gt|lrbi|lr\d?)(?=$|[_\-. ])")

_Files = dict[BenchmarkImage, Path]


@dataclasses.dataclass(frozen=True)
class SrFiles:
  """The SR files of one folder for one test set at one scale.

  Attributes:
    source: the folder as the caller named it.
    folder: the folder that holds the files: `source` or a folder in it.
    scale: upscaling factor.
    files: the SR file of each image that has one.
    missing: images without a file.
  """

  source: str
  folder: Path
  scale: int
  files: _Files
  missing: list[BenchmarkImage]

  @property
  def title(self) -> str:
    """For tables, "imdn_outputs ×4"."""
    return f"{Path(self.source).resolve().name} ×{self.scale}"

  def read(self, image: BenchmarkImage) -> np.ndarray:
    """Returns SR of an image, H×W×3 uint8; raises UserError if it can't."""
    return rgb.read_rgb(self.files[image])


def find_sr_files(
  source: str | Path,
  test_set: str | Path,
  scale: int | None = None,
  default: int | None = None,
) -> tuple[Benchmark, SrFiles]:
  """Finds a test set and the SR files that belong to it; reads no scores yet.

  Args:
    source: folder of SR images.
    test_set: folder of a test set with HR images.
    scale: upscaling factor. If None, it is inferred from the names of the
      files, then from those of their folders.
    default: the scale if no name states it.

  Returns:
    The test set at the scale, and the files that match it. Files of other
    scales, and files named HR, GT or LR next to others, are not used.

  Raises:
    UserError: a folder is missing or has no images, no file matches, the names
      end in different ways, or the scale can't be inferred.
  """
  folder = _enter(Path(source), test_set, scale)
  paths = rgb.list_images(folder)
  if scale is None:
    scale = _infer_scale(folder, paths, default)
  benchmark = find_benchmark(test_set, scale)
  if not any(image.hr for image in benchmark.images):
    raise UserError(
      f"{test_set} has no HR images, so that {source} cannot be scored"
    )
  found = _by_suffix(folder, paths, benchmark.images, test_set)
  of_scale = {
    suffix: files
    for suffix, files in found.items()
    if _stated_scale(suffix) in (None, scale)
  }
  if not of_scale:
    raise UserError(
      f"the files in {folder} are named as {_times(map(_stated_scale, found))},"
      f" not ×{scale}"
    )
  used = {path for files in found.values() for path in files.values()}
  if ignored := [path for path in paths if path not in used]:
    more = ", …" if len(ignored) > 1 else ""
    warn_once(
      f"{folder}: ignored {counted(len(ignored), 'image')} without HR image in"
      f" {benchmark.name} ({ignored[0].name}{more})"
    )
  files = _of_most(folder, of_scale)
  missing = [image for image in benchmark.images if image not in files]
  return benchmark, SrFiles(str(source), folder, scale, files, missing)


def is_sr_folder(path: str | Path) -> bool:
  """Whether a path is a folder of images, rather than that of a run."""
  folder = Path(path)
  if not folder.is_dir() or (folder / "config.json").exists():
    return False
  patterns = ["/".join("*" * depth) for depth in range(1, _DEPTH + 2)]
  return any(
    rgb.is_image(found)
    for pattern in patterns
    for found in folder.glob(pattern)
  )


def _enter(folder: Path, test_set: str | Path, scale: int | None) -> Path:
  """Enters folders named after the test set or the scale, if there are any."""
  named = [Path(test_set).resolve().name, benchmark_name(test_set), f"x{scale}"]
  named = [name.casefold() for name in named]
  for _ in range(_DEPTH):
    inner: dict[str, Path] = {}
    # `rgb.list_images` reports a folder that can't be read.
    with contextlib.suppress(OSError):
      inner = {p.name.casefold(): p for p in folder.iterdir() if p.is_dir()}
    wanted = [name for name in named if name in inner]
    if not wanted and scale is None:
      wanted = [name for name in inner if re.fullmatch(r"x\d", name)]
      if len(wanted) > 1:
        raise UserError(
          f"{folder} holds images at {_times(map(_stated_scale, wanted))}: pass"
          " --scale"
        )
    if not wanted:
      break
    folder = inner[wanted[0]]
  return folder


def _stated_scale(text: str) -> int | None:
  """The scale in a suffix or a folder's name; None if it states none."""
  found = [next(filter(None, m.groups())) for m in _SCALE.finditer(text)]
  return int(found[-1]) if found else None


def _times(scales: Iterable[int | None]) -> str:
  return " and ".join(f"×{scale}" for scale in sorted(filter(None, {*scales})))


def _by_suffix(
  folder: Path,
  paths: Sequence[Path],
  images: Sequence[BenchmarkImage],
  test_set: str | Path,
) -> dict[str, _Files]:
  """For each suffix, in lower case, the files of images that end in it.

  Raises:
    UserError: no file is named like an image, or two files or two images only
      differ in letters' case or in the type of file.
  """
  found: dict[str, _Files] = {}
  names = {image: _names(image) for image in images}
  for path in paths:
    stem = readable(path.stem).casefold()
    taken: dict[str, BenchmarkImage] = {}
    for image in images:
      ends = [stem[len(n) :] for n in names[image] if stem.startswith(n)]
      ends = [end for end in ends if _SUFFIX.match(end)]
      if not ends:
        continue
      suffix = min(ends, key=len)
      other = found.setdefault(suffix, {}).setdefault(image, path)
      if other != path:
        raise UserError(
          f"{folder}: {other.name} and {path.name} match the same image"
        )
      if taken.setdefault(suffix, image) != image:
        raise UserError(
          f"{path} matches several HR images: {taken[suffix].hr} and {image.hr}"
        )
  if not found:
    raise UserError(
      f"no file in {folder} is named like an HR image of {test_set}"
      f" ({paths[0].name}, {images[0].name})"
    )
  return found


def _names(image: BenchmarkImage) -> set[str]:
  """Names that an image's SR files may begin with, in lower case."""
  names = {image.name.casefold()}
  if image.hr:
    names.add(readable(image.hr.stem).casefold())
  return names


def _of_most(folder: Path, found: dict[str, _Files]) -> _Files:
  """The files with the suffix that most images have.

  Raises:
    UserError: there are two such suffixes.
  """
  made = {s: files for s, files in found.items() if not _INPUT.search(s)}
  first, *others = sorted((made or found).values(), key=len, reverse=True)
  if others and len(others[0]) == len(first):
    names = [next(iter(files.values())).name for files in (first, others[0])]
    raise UserError(
      f"the files in {folder} end in different ways, {names[0]} and {names[1]}:"
      " keep those that end in the same way, one for each image"
    )
  return first


def _infer_scale(
  folder: Path, paths: Sequence[Path], default: int | None
) -> int:
  """The scale of SR files by their names, or their folders'.

  Raises:
    UserError: they state several; or none, and there is no default.
  """
  stated = {scale for p in paths if (scale := _stated_scale(readable(p.stem)))}
  if len(stated) > 1:
    raise UserError(
      f"the files in {folder} are named as {_times(stated)}: pass --scale"
    )
  here = folder.resolve()
  of_folders = map(_stated_scale, (here.name, here.parent.name))
  for scale in (*stated, *of_folders, default):
    if scale:
      return scale
  raise UserError(
    f"neither the files in {folder} nor the folder are named after the scale,"
    " as in baby_x4.png: pass --scale"
  )
