"""What upscale.py does: image files in, larger image files out."""

from collections.abc import Sequence
import dataclasses
import glob
import logging
import os
from pathlib import Path
import sys
import time

from jax.errors import JaxRuntimeError
import jax.numpy as jnp
import numpy as np
from PIL import Image
from scipy import ndimage
from tqdm import tqdm

from bamjax import pretrained
from bamjax import terminal
from bamjax.errors import UserError
from bamjax.errors import warn_once
from bamjax.files import check_target
from bamjax.files import HeldError
from bamjax.files import identity
from bamjax.files import refuse_overwriting
from bamjax.images import image_file
from bamjax.images.image_file import ImageData
from bamjax.images.rgb import count_kinds
from bamjax.images.rgb import list_images
from bamjax.inference import NotFiniteError
from bamjax.inference import Upscaler
from bamjax.networks import load_network
from bamjax.networks import Network
from bamjax.weights import Hints

DTYPES = ("float32", "bfloat16")
_FULL = "RESOURCE_EXHAUSTED"  # the memory of a device, in XLA's words
_QUIET_SECONDS = 30  # between lines about one image


@dataclasses.dataclass(frozen=True)
class Options:
  """What is asked for; flags of the same names in upscale.py explain each."""

  weights: str | None = None
  run_dir: str | None = None
  step: int | None = None
  model: str | None = None
  attn: str | None = None
  scale: int | None = None
  normalization: str | None = None
  output: str = "results"
  tile: str = "auto"
  passes: int = 1
  memory: float = 2.0
  suffix: str | None = None
  ext: str = "auto"
  quality: int | None = None
  skip_existing: bool = False
  self_ensemble: bool = False
  dtype: str = "float32"


OPTIONS = tuple(field.name for field in dataclasses.fields(Options))


def run(inputs: Sequence[str], options: Options) -> int:
  """Upscales files, folders and globs.

  An image that is absent or cannot be read, or whose result cannot be written
  as such or put in its place, is named in a warning and left out. Earlier
  results are written over, or with `skip_existing` left as they are, and passed
  over where they are inputs too.

  Returns:
    The exit status: 0, or 1 if an image was left out.

  Raises:
    UserError: an option, an input or the output is at fault; nothing was
      written then, or what was written is whole.
  """
  tile = _tile(options.tile)
  sources = find_inputs(inputs)
  network = _network(options)
  jobs = plan_outputs(sources, options, network.scale)
  if options.weights and os.path.isfile(
    read := pretrained.find(network.source)
  ):
    for _, target in jobs:
      refuse_overwriting(target, [read])
  if options.skip_existing:
    count = len(jobs)
    if results := len(sources) - count:
      print(
        f"{results} of {len(sources)} images are results of others: passed over"
      )
    # What else has the name is told below.
    jobs = [job for job in jobs if not os.path.isfile(job[1])]
    print(f"{count - len(jobs)} of {count} images have a result: skipped")
  upscaler = Upscaler(
    network.module,
    network.variables,
    self_ensemble=options.self_ensemble,
    tile=tile,
    passes=options.passes,
    memory=options.memory * 1e9,
    padded=True,
  )
  # The bound is against strangers' files; these the user has named.
  Image.MAX_IMAGE_PIXELS = None
  left_out, written = 0, set()
  for number, (source, target) in enumerate(jobs, 1):
    start = time.monotonic()
    try:
      check_target(target)
      if identity(target) in written:
        raise UserError(f"{target} holds another image's result")
      image = image_file.read(source)
      height, width = image.color.shape[:2]
      scale = network.scale
      image_file.check_output(target, scale * height, scale * width)
    except UserError as error:
      logging.warning("left out: %s", error)
      left_out += 1
      continue
    name = terminal.plain(source.name)
    with _Progress(f"{name} ({number}/{len(jobs)})") as progress:
      try:
        larger = upscale_image(upscaler, image, progress)
        image_file.write(target, larger, options.quality)
      except NotFiniteError as error:
        logging.warning("left out: %s: %s", source, error)
        left_out += 1
        continue
      except (
        image_file.FormatError,
        HeldError,
        MemoryError,
        JaxRuntimeError,
      ) as error:
        if isinstance(error, JaxRuntimeError) and _FULL not in str(error):
          raise
        known = isinstance(error, UserError)
        reason = error if known else f"{source} does not fit in memory"
        logging.warning("left out: %s", reason)
        left_out += 1
        continue
    written.add(identity(target))
    print(
      f"{terminal.plain(target)}  {width}×{height} →"
      f" {scale * width}×{scale * height}, {time.monotonic() - start:.1f} s",
      flush=True,
    )
  if left_out:
    print(f"{left_out} of {len(jobs)} images left out", file=sys.stderr)
  return 1 if left_out else 0


def upscale_image(upscaler: Upscaler, image: ImageData, progress=None):
  """Upscales an image and its alpha, both by the network.

  Of gray images and of alpha, the network sees three equal channels; the
  mean of the three it returns is taken. Under full transparency, it sees the
  color of the nearest pixel that is visible: whatever stands there would tinge
  the rim. Profile, density and EXIF data stay.
  """
  color = upscaler(_visible_color(image), progress)
  if image.gray:
    color = np.broadcast_to(_mean(color)[..., None], color.shape)
  alpha = image.alpha
  if alpha is not None:
    if alpha.min() == alpha.max():  # nothing that a network could add
      alpha = np.full(color.shape[:2], alpha.flat[0])
    else:
      shape = (*alpha.shape, 3)
      alpha = upscaler(np.broadcast_to(alpha[..., None], shape), progress)
      alpha = _mean(alpha)
  return dataclasses.replace(image, color=color, alpha=alpha)


def _visible_color(image: ImageData) -> np.ndarray:
  """The color, under full transparency that of the nearest visible pixel."""
  if image.alpha is None:
    return image.color
  hidden = image.alpha == 0
  if hidden.all() or not hidden.any():
    return image.color
  nearest = ndimage.distance_transform_edt(
    hidden, return_distances=False, return_indices=True
  )
  return image.color[tuple(nearest)]


def _mean(image: np.ndarray) -> np.ndarray:
  """Mean of three channels, rounded, in little memory."""
  total = image[..., 0].astype(np.uint32) + image[..., 1] + image[..., 2]
  return ((total + 1) // 3).astype(image.dtype)


def find_inputs(inputs: Sequence[str]) -> list[Path]:
  """Files by files, folders and globs, each once, in the order given.

  A file that is absent, or behind a folder that is closed to us, is among them,
  so that its reader names it.

  Raises:
    UserError: there is none; or a folder has no image, a glob no match.
  """
  found, absent = [], []
  for name in inputs:
    if not name:  # Path takes it for the current folder
      raise UserError("an input's name is empty; give files, folders or globs")
    path = Path(name)
    # Path's own tests raise where a name is too long, or a folder is closed.
    if os.path.isdir(path):
      found += list_images(path)
    elif os.path.lexists(path):
      found.append(path)
    elif matches := [*map(Path, sorted(glob.glob(name, recursive=True)))]:
      folders = [p for p in matches if os.path.isdir(p)]
      if folders:
        warn_once(f"{name}: passed over {count_kinds(folders)}")
      found += [p for p in matches if p not in folders]
    elif glob.has_magic(name):
      raise UserError(f"there is no file, folder or match of {name}")
    else:
      absent.append(path)
      found.append(path)
  if not found:
    raise UserError("no image named; give files, folders or globs")
  if len(absent) == len(inputs):
    image_file.read(absent[0])  # which tells why it can't
  once = {}
  for path in found:  # a file has several spellings
    once.setdefault((identity(path) or path, path.name), path)
  return list(once.values())


def plan_outputs(
  sources: Sequence[Path], options: Options, scale: int
) -> list[tuple[Path, Path]]:
  """Each image with the file that it is written to.

  With `skip_existing`, images that are results of others are not among them.

  Raises:
    UserError: an extension is unknown, an image would be written over itself
      or another, or two to one file.
  """
  if not options.output:
    raise UserError("--output is empty; give a folder or a file")
  output = Path(options.output)
  separators = tuple(filter(None, (os.sep, os.altsep)))
  is_folder = options.output.endswith(separators)
  known = [e[1:] for e in image_file.EXTENSIONS]
  ext = options.ext.lower().removeprefix(".")
  if ext not in ("auto", *known):
    raise UserError(
      f"unknown --ext {options.ext!r}; choose from auto, {', '.join(known)}"
    )
  to_file = output.suffix and not (is_folder or os.path.isdir(output))
  if to_file and output.suffix[1:].lower() not in known:
    raise UserError(
      f"unknown extension of --output {output}; choose from {', '.join(known)},"
      f" or give a folder, as {output}{os.sep}"
    )
  if to_file and len(sources) > 1:
    raise UserError(
      f"--output {output} is one file, and there are {len(sources)} images;"
      " give a folder"
    )
  if to_file and ext != "auto":
    raise UserError("--ext goes with a folder; the file's name has its own")
  suffix = f"_x{scale}" if options.suffix is None else options.suffix
  if suffix and options.suffix is not None:
    suffix = f"_{suffix}"
  if any(letter in suffix for letter in (*separators, "\0")):
    raise UserError(
      f"--suffix is a part of names, without {separators[0]}; got"
      f" {options.suffix!r}"
    )
  jobs = []
  for source in sources:
    kind = source.suffix if ext == "auto" else f".{ext}"
    if kind.lower() not in image_file.EXTENSIONS:
      kind = ".png"
    name = f"{source.stem}{suffix}{kind}"
    jobs.append((source, output if to_file else output / name))
  jobs = _without_results(jobs, options.skip_existing)
  targets = {}
  for source, target in jobs:
    first = targets.setdefault(os.path.realpath(target), source)
    if first != source:
      raise UserError(
        f"{first} and {source} would both be written to {target}; upscale one"
        " of them alone, with another --output or --suffix"
      )
  return jobs


def _without_results(
  jobs: Sequence[tuple[Path, Path]], skip_existing: bool
) -> list[tuple[Path, Path]]:
  """Leaves out images that others' results are to have the place of.

  Raises:
    UserError: they would be written over: without `skip_existing`, or by their
      own results.
  """
  taken = {identity(source): source for source, _ in jobs}
  results = set()
  for source, target in jobs:
    found = identity(target)
    if found is None or found not in taken:
      continue
    itself = found == identity(source)
    if itself or not skip_existing:
      advice = "; or, if that is an earlier result, --skip_existing"
      raise UserError(
        f"the result of {source} would be written over the input"
        f" {taken[found]}; give another --output or --suffix"
        f"{'' if itself else advice}"
      )
    results.add(found)
  return [job for job in jobs if identity(job[0]) not in results]


def _tile(value: str) -> int | None:
  if value == "auto":
    return None
  if not value.isdecimal():
    raise UserError(f"--tile is auto or a number of LR pixels; got {value!r}")
  return int(value)


def _network(options: Options) -> Network:
  if options.weights and options.run_dir:
    raise UserError("--weights and --run_dir: give one of them")
  if options.dtype not in DTYPES:
    raise UserError(
      f"unknown dtype {options.dtype!r}; choose from {', '.join(DTYPES)}"
    )
  if options.passes < 0 or not options.memory > 0:
    raise UserError("--passes can't be negative, and --memory is above 0")
  if options.quality is not None and not 1 <= options.quality <= 100:
    raise UserError(f"--quality is from 1 to 100; got {options.quality}")
  source = options.weights or options.run_dir
  network = load_network(
    source or f"pan-bam-x{options.scale or 2}",
    Hints(
      options.model,
      options.attn,
      options.scale,
      options.normalization,
      options.step,
    ),
  )
  dtype = jnp.dtype(options.dtype)
  module = network.module
  module = module.clone(
    dtype=dtype, attention=dataclasses.replace(module.attention, dtype=dtype)
  )
  return dataclasses.replace(network, module=module)


class _Progress:
  """A bar of the network's runs on a terminal; elsewhere a line at times."""

  def __init__(self, name: str):
    self._name = name
    self._told = time.monotonic()
    self._bar = tqdm(
      desc=name,
      unit="tile",
      disable=not sys.stderr.isatty(),
      dynamic_ncols=True,
      leave=False,
    )

  def __call__(self, done: int, count: int) -> None:
    if not self._bar.disable:
      if done == 1:
        self._bar.reset(count)
      self._bar.update()
    elif time.monotonic() - self._told > _QUIET_SECONDS and done < count:
      self._told = time.monotonic()
      print(f"{self._name}: tile {done} of {count}", flush=True)

  def __enter__(self):
    return self

  def __exit__(self, *_) -> None:
    self._bar.close()
