"""Which images are upscaled, and the files they are written to."""

from collections.abc import Sequence
import glob
import logging
import os
from pathlib import Path

from bamjax.errors import UserError
from bamjax.errors import warn_once
from bamjax.files import identity
from bamjax.images import image_file
from bamjax.images.rgb import count_kinds
from bamjax.images.rgb import list_images

_logger = logging.getLogger(__name__)

# An image and the file of its result.
Job = tuple[Path, Path]

_EXTENSIONS = [extension[1:] for extension in image_file.EXTENSIONS]


def find_inputs(inputs: Sequence[str]) -> tuple[list[Path], int]:
  """Lists the files of files, folders and globs, each once, in their order.

  A file that does not exist, or is in a folder that can't be read, is listed
  too, so that whoever reads it names it. A folder without images and a glob
  without match are left out with a warning.

  Returns:
    The files, and the number of inputs that were left out.

  Raises:
    UserError: there is no file.
  """
  files: list[Path] = []
  absent: list[Path] = []
  empty: list[UserError] = []
  for name in inputs:
    if not name:  # Path takes it for the current folder
      raise UserError("an input's name is empty; name files, folders or globs")
    path = Path(name)
    # Path's own tests raise if a name is too long or a folder can't be read.
    if os.path.isdir(path):
      try:
        files += list_images(path)
      except UserError as error:
        empty.append(error)
    elif os.path.lexists(path):
      files.append(path)
    elif matches := [*map(Path, sorted(glob.glob(name, recursive=True)))]:
      folders = [p for p in matches if os.path.isdir(p)]
      if folders:
        warn_once(f"{name}: passed over {count_kinds(folders)}")
      files += [p for p in matches if p not in folders]
    elif glob.has_magic(name):
      empty.append(UserError(f"there is no file, folder or match of {name}"))
    else:
      absent.append(path)
      files.append(path)
  if empty and len(files) == len(absent):
    raise empty[0]
  for reason in empty:
    _logger.warning("left out: %s", reason)
  if not files:
    raise UserError("no image named; name files, folders or globs")
  if len(absent) == len(inputs):
    image_file.read(absent[0])  # raises the reason
  once: dict[object, Path] = {}
  for path in files:  # one file may have several spellings
    once.setdefault((identity(path) or path, path.name), path)
  return list(once.values()), len(empty)


def plan_outputs(
  sources: Sequence[Path],
  scale: int,
  *,
  output: str,
  suffix: str | None = None,
  ext: str = "auto",
  skip_existing: bool = False,
) -> tuple[list[Job], int]:
  """Pairs each image with the file that it is written to.

  Images that would be written to the same file are left out with a warning.

  Args:
    sources: the images.
    scale: upscaling factor, for the default suffix.
    output: a folder, or the file of a single image.
    suffix: NAME_SUFFIX.EXT is written; None is "x2", "x3" or "x4".
    ext: extension of the results; "auto" keeps the image's.
    skip_existing: leave out images that are results of others.

  Returns:
    The jobs, and the number of images that were left out with a warning.

  Raises:
    UserError: an extension is unknown, an image would be written over itself or
      over another, or all of them to files of others.
  """
  if not output:
    raise UserError("--output is empty; use a folder or a file")
  path = Path(output)
  separators = tuple(filter(None, (os.sep, os.altsep)))
  is_folder = output.endswith(separators)
  extension = ext.lower().removeprefix(".")
  if extension not in ("auto", *_EXTENSIONS):
    raise UserError(
      f"unknown --ext {ext!r}; choose from auto, {', '.join(_EXTENSIONS)}"
    )
  to_file = bool(path.suffix) and not (is_folder or os.path.isdir(path))
  if to_file:
    _check_file(path, len(sources), extension)
  ending = f"_x{scale}" if suffix is None else suffix and f"_{suffix}"
  if any(letter in ending for letter in (*separators, "\0")):
    raise UserError(
      f"--suffix is part of a file name, without {separators[0]}; got"
      f" {suffix!r}"
    )
  jobs = []
  for source in sources:
    kind = source.suffix if extension == "auto" else f".{extension}"
    if kind.lower() not in image_file.EXTENSIONS:
      kind = ".png"
    name = f"{source.stem}{ending}{kind}"
    jobs.append((source, path if to_file else path / name))
  return _without_rivals(_without_results(jobs, scale, skip_existing))


def _without_rivals(jobs: Sequence[Job]) -> tuple[list[Job], int]:
  """Leaves out images whose results would be written to the same file.

  Raises:
    UserError: that is all of them.
  """
  by_target: dict[str, list[Job]] = {}
  for job in jobs:
    by_target.setdefault(os.path.realpath(job[1]), []).append(job)
  problems = []
  for group in by_target.values():
    if len(group) > 1:
      *others, last = (str(source) for source, _ in group)
      problems.append(
        f"{', '.join(others)} and {last} would be written to one file,"
        f" {group[0][1]}; upscale one of them alone, with another --output or"
        " --suffix"
      )
  kept = [job for job in jobs if len(by_target[os.path.realpath(job[1])]) == 1]
  if problems and not kept:
    raise UserError(problems[0])
  for problem in problems:
    _logger.warning("left out: %s", problem)
  return kept, len(jobs) - len(kept)


def _check_file(output: Path, images: int, extension: str) -> None:
  """Raises UserError unless a file can be the output."""
  if output.suffix[1:].lower() not in _EXTENSIONS:
    raise UserError(
      f"unknown extension of --output {output}; choose from"
      f" {', '.join(_EXTENSIONS)}, or use a folder, {output}{os.sep}"
    )
  if images > 1:
    raise UserError(
      f"--output {output} is one file, and there are {images} images; use a"
      " folder"
    )
  if extension != "auto":
    raise UserError(
      "--ext is for folders; --output is a file with an extension of its own"
    )


def _without_results(
  jobs: Sequence[Job], scale: int, skip_existing: bool
) -> list[Job]:
  """Leaves out images that have the place of another image's result.

  Raises:
    UserError: one would be overwritten: without `skip_existing`, or by its own
      result; or with it, if it has another size than the result.
  """
  inputs = {identity(source): source for source, _ in jobs}
  results = set()
  for source, target in jobs:
    existing = identity(target)
    if existing is None or existing not in inputs:
      continue
    itself = existing == identity(source)
    other = skip_existing and _state(source, target, scale) == "other"
    if itself or other or not skip_existing:
      advice = ", or --skip_existing if that is an earlier result"
      raise UserError(
        f"the result of {source} would be written over the input"
        f" {inputs[existing]}; use another --output or --suffix"
        f"{'' if itself or skip_existing else advice}"
      )
    results.add(existing)
  return [job for job in jobs if identity(job[0]) not in results]


def without_existing(
  jobs: Sequence[Job], scale: int
) -> tuple[list[Job], list[Path]]:
  """Leaves out images that have a result.

  Args:
    jobs: the images and the files of their results.
    scale: upscaling factor.

  Returns:
    The other jobs, and the files among theirs that are no results of them: that
    can't be opened, or have another size.
  """
  left, damaged = [], []
  for job in jobs:
    state = _state(*job, scale)
    if state != "result":
      left.append(job)
    # Anything else of that name is reported later.
    if state in ("damaged", "other"):
      damaged.append(job[1])
  return left, damaged


def _state(source: Path, target: Path, scale: int) -> str:
  """What a file is to an image.

  Returns:
    "result"; "other", an image of another size than the result's; "damaged", a
    file that can't be opened as an image; or "", no file.
  """
  if not os.path.isfile(target):
    return ""
  try:
    height, width = image_file.measure(target)
  except UserError:
    return "damaged"
  try:
    wanted = tuple(scale * side for side in image_file.measure(source))
  except UserError:  # reported later
    return ""
  return "result" if (height, width) == wanted else "other"
