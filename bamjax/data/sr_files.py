"""Super-resolved images that any program made, matched to a test set by name.

An SR file is named like the HR image, with a suffix that tools append, or with
any suffix that all files of the folder share:

    baby.png   baby_x4.png   babyx4.png   baby_SR.png   baby_x4_SR.png
    baby_out.png   baby_rlt.png   baby_HR_x4.png   baby_MyNetwork_200k.png

The files are in the folder itself, or in folders in it that are named after the
test set or the scale: DIR/Set5/x4.
"""

from collections import Counter
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
from pathlib import Path
import re

from bamjax.data.test_sets import Benchmark
from bamjax.data.test_sets import benchmark_name
from bamjax.data.test_sets import BenchmarkImage
from bamjax.data.test_sets import find_benchmark
from bamjax.errors import UserError
from bamjax.errors import warn_once
from bamjax.files import readable
from bamjax.images import rgb
from bamjax.images.resize import mod_crop
from bamjax.terminal import counted

# Scales that image sizes are tested for; names may state any other.
_SCALES = (2, 3, 4)
_DEPTH = 3  # folders to enter, at most

_SUFFIX = re.compile(
  r"(?:[_\-. ]?x\d|[_\-. ](?:\dx|srf_\d|lr\d"
  r"|sr|output|out|rlt|results?|res|pred|restored|upscaled"
  r"|hr|gt|lrbi|lr|bicubic|bic|bi))*",
  re.IGNORECASE,
)
_SCALE = re.compile(
  r"(?:^|[_\-. ])(?:x|srf_)(\d)(?=$|[_\-. ])|x(\d)(?=$|[_\-. ])"
  r"|[_\-. ](\d)x(?=$|[_\-. ])",
  re.IGNORECASE,
)
# Some tools save what they read next to what they made.
_INPUT = re.compile(r"[_\-. ](?:hr|gt|lrbi|lr\d?)(?=$|[_\-. ])", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class SrFiles:
  """The SR files of one folder for one test set at one scale.

  Attributes:
    source: the folder as the caller named it.
    folder: the folder that holds the files: `source` or a folder in it.
    scale: upscaling factor.
    files: the SR file of each image that has exactly one.
    problems: for each image with an ambiguous file, what is wrong.
    missing: images without a file.
    ignored: files that match no image.
  """

  source: str
  folder: Path
  scale: int
  files: dict[BenchmarkImage, Path]
  problems: dict[BenchmarkImage, str]
  missing: list[BenchmarkImage]
  ignored: list[Path]

  @property
  def title(self) -> str:
    """For tables, "imdn_outputs ×4"."""
    return f"{Path(self.source).resolve().name} ×{self.scale}"


@dataclasses.dataclass(frozen=True)
class _Match:
  """An SR file that may belong to an image."""

  image: BenchmarkImage
  suffix: str  # what follows the image's name, in lower case
  path: Path

  @property
  def scale(self) -> int | None:
    return _stated_scale(self.suffix)


def find_sr_files(
  source: str | Path,
  test_set: str | Path,
  scale: int | None = None,
  likely: Collection[int] = (),
) -> tuple[Benchmark, SrFiles]:
  """Finds a test set and the SR files that belong to it; reads no scores yet.

  Args:
    source: folder of SR images.
    test_set: folder of a test set with HR images.
    scale: upscaling factor. If None, it is inferred from the names of the
      files, then from those of their folders, then from the image sizes.
    likely: scales to choose from if the sizes fit several.

  Returns:
    The test set at the scale, and the files that match it. Files of other
    scales, and files named HR, GT or LR next to others, are not used.

  Raises:
    UserError: a folder is missing or has no images, no file matches, or the
      scale can't be inferred.
  """
  folder = _descend(Path(source), test_set, scale)
  paths = rgb.list_images(folder)
  if scale is None:
    scale = _infer_scale(source, folder, paths, test_set, likely)
  benchmark = find_benchmark(test_set, scale)
  if not any(image.hr for image in benchmark.images):
    raise UserError(
      f"{test_set} has no HR images, so that {source} cannot be scored"
    )
  matches = _matches(paths, benchmark.images)
  of_scale = [m for m in matches if m.scale in (None, scale)]
  if matches and not of_scale:
    stated = sorted({m.scale for m in matches if m.scale})
    raise UserError(
      f"the files in {folder} are named as {_times(stated)}, not ×{scale}"
    )
  if not of_scale:
    raise UserError(
      f"no file in {folder} is named like an HR image of {test_set}"
      f" ({paths[0].name}, {benchmark.images[0].name})"
    )
  used = {m.path for m in matches}
  ignored = [path for path in paths if path not in used]
  if ignored:
    more = ", …" if len(ignored) > 1 else ""
    warn_once(
      f"{folder}: ignored {counted(len(ignored), 'image')} without HR image in"
      f" {benchmark.name} ({ignored[0].name}{more})"
    )
  files, problems = _assign(of_scale, benchmark.images)
  missing = [
    image
    for image in benchmark.images
    if image not in files and image not in problems
  ]
  return benchmark, SrFiles(
    str(source), folder, scale, files, problems, missing, ignored
  )


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


def _descend(folder: Path, test_set: str | Path, scale: int | None) -> Path:
  """Enters folders named after the test set or the scale, if there are any."""
  path = Path(test_set).resolve()
  wanted = {path.name.casefold(), benchmark_name(test_set).casefold()}
  for _ in range(_DEPTH):
    if not folder.is_dir():
      raise UserError(f"there is no folder {folder}")
    try:
      inner = [p for p in sorted(folder.iterdir()) if p.is_dir()]
    except OSError as error:
      raise UserError(
        f"the folder {folder} cannot be read ({error.strerror})"
      ) from None
    named = [p for p in inner if p.name.casefold() in wanted]
    scaled = {
      int(match[1]): p
      for p in inner
      if (match := re.fullmatch(r"x(\d)", p.name, re.IGNORECASE))
    }
    if named:
      folder = named[0]
    elif scale in scaled:
      folder = scaled[scale]
    elif scale is None and len(scaled) == 1:
      (folder,) = scaled.values()
    elif scale is None and scaled:
      raise UserError(
        f"{folder} holds images at {_times(scaled)}: pass --scale"
      )
    else:
      break
  return folder


def _stated_scale(text: str) -> int | None:
  """The scale in a suffix or a folder's name; None if it states none."""
  found = [next(filter(None, m.groups())) for m in _SCALE.finditer(text)]
  return int(found[-1]) if found else None


def _times(scales: Iterable[int]) -> str:
  return " and ".join(f"×{scale}" for scale in sorted(scales))


def _names(image: BenchmarkImage) -> set[str]:
  """Names that an image's SR files may begin with."""
  names = {image.name.casefold()}
  if image.hr:
    names.add(readable(image.hr.stem).casefold())
  return names


def _matches(
  paths: Sequence[Path], images: Sequence[BenchmarkImage]
) -> list[_Match]:
  """All possible matches: by known suffixes, else by those that files share."""
  names = [(name, image) for image in images for name in _names(image)]
  known, unknown = [], []
  for path in paths:
    stem = readable(path.stem).casefold()
    begins = [
      _Match(image, stem[len(name) :], path)
      for name, image in names
      if stem.startswith(name)
    ]
    matches = [m for m in begins if _SUFFIX.fullmatch(m.suffix)]
    known += _shortest(matches)
    if not matches:
      unknown += [m for m in begins if m.suffix[0] in "_-. "]
  shared = Counter(m.suffix for m in _shortest(unknown))
  return known + [m for m in _shortest(unknown) if shared[m.suffix] > 1]


def _shortest(matches: Iterable[_Match]) -> list[_Match]:
  """Each pair of image and file once, with the shortest suffix."""
  found: dict[tuple[BenchmarkImage, Path], _Match] = {}
  for match in sorted(matches, key=lambda m: len(m.suffix)):
    found.setdefault((match.image, match.path), match)
  return list(found.values())


def _assign(
  matches: Sequence[_Match], images: Sequence[BenchmarkImage]
) -> tuple[dict[BenchmarkImage, Path], dict[BenchmarkImage, str]]:
  """Files of images that have exactly one, and what is wrong with others."""
  covered: dict[str, set[BenchmarkImage]] = {}
  for match in matches:
    covered.setdefault(match.suffix, set()).add(match.image)
  # One suffix for the whole test set settles what single names leave open.
  whole = {s for s, found in covered.items() if len(found) == len(images)}
  chosen = [m for m in matches if not whole or m.suffix in whole]
  made = {m.image for m in chosen if not _INPUT.search(m.suffix)}
  chosen = [
    m for m in chosen if m.image not in made or not _INPUT.search(m.suffix)
  ]
  by_image: dict[BenchmarkImage, list[Path]] = {}
  by_path: dict[Path, list[str]] = {}
  for match in chosen:
    by_image.setdefault(match.image, []).append(match.path)
    by_path.setdefault(match.path, []).append(match.image.name)
  files, problems = {}, {}
  for image, paths in by_image.items():
    if len(paths) > 1:
      names = " and ".join(sorted(path.name for path in paths))
      problems[image] = f"several files match it: {names}"
    elif len(by_path[paths[0]]) > 1:
      names = " and ".join(sorted(by_path[paths[0]]))
      problems[image] = f"{paths[0]} matches several HR images: {names}"
    else:
      files[image] = paths[0]
  return files, problems


def _infer_scale(
  source: str | Path,
  folder: Path,
  paths: list[Path],
  test_set: str | Path,
  likely: Collection[int],
) -> int:
  """The scale of SR files by their names, their folders', or their sizes.

  Raises:
    UserError: none or several of the scales fit.
  """
  sets = _test_sets(test_set)
  images = next(iter(sets.values()))
  matches = _matches(paths, images)
  stated = {m.scale for m in matches if m.scale}
  if len(stated) > 1:
    raise UserError(
      f"the files in {folder} are named as {_times(stated)}: pass --scale"
    )
  if stated:
    return stated.pop()
  here = folder.resolve()
  for name in (here.name, here.parent.name):
    if scale := _stated_scale(name):
      return scale
  files, _ = _assign(matches, images) if matches else ({}, {})
  sizes = {image.name: _size(path) for image, path in files.items()}
  fitting = {
    scale: images
    for scale, images in sets.items()
    if sizes and all(_fits(image, scale, sizes) for image in images)
  }
  # A test set with LR files for some scales is meant for those.
  given = [s for s, images in fitting.items() if any(i.lr for i in images)]
  found = given or list(fitting)
  found = [s for s in found if s in likely] or found
  if len(found) == 1:
    return found[0]
  reason = f"the sizes fit {_times(found)}" if found else "no size fits"
  raise UserError(
    f"can't infer the scale of {source}: neither the names of the files nor"
    f" that of the folder state it, and {reason}; pass --scale"
  )


def _test_sets(folder: str | Path) -> dict[int, list[BenchmarkImage]]:
  """The images of a test set at each scale that it has any for.

  Raises:
    UserError: it has none.
  """
  found, errors = {}, []
  for scale in _SCALES:
    try:
      found[scale] = find_benchmark(folder, scale).images
    except UserError as error:
      errors.append(error)
  if not found:
    raise errors[0]
  return found


def _size(path: Path) -> tuple[int, ...] | None:
  """Height and width; None if the file can't be read."""
  try:
    return rgb.read_rgb(path).shape[:2]
  except UserError:
    return None


def _fits(
  image: BenchmarkImage, scale: int, sizes: dict[str, tuple[int, ...] | None]
) -> bool:
  """Whether SR has the size of HR at a scale; True if either can't be read."""
  size = sizes.get(image.name)
  if size is None or image.hr is None:
    return True
  try:
    hr = rgb.read_rgb(image.hr)
  except UserError:
    return True
  return mod_crop(hr, scale).shape[:2] == size
