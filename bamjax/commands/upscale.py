"""Upscale images: files, folders and globs.

  bamjax upscale photo.jpg
  bamjax upscale photos/ --weights=imdn_x4.safetensors -o large
  bamjax upscale 'scans/*.png' --run_dir=runs/pan-bam-x2-sample --ext=webp

Without --weights and --run_dir, the shipped weights of --preset for --scale (2,
3 or 4; by default 2) are used, and for JPEG and lossy WebP those that were
trained on noise, blur and compression. Inputs are never overwritten, earlier
results are. Exit status: 0; 1 if an image was skipped, with a warning; 2 if a
flag or an argument is invalid.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import os
import sys
from typing import ClassVar
from typing import TYPE_CHECKING

from bamjax.commands import selection
from bamjax.commands.options import option
from bamjax.commands.options import positional
from bamjax.errors import UserError
from bamjax.terminal import counted
from bamjax.terminal import plain

if TYPE_CHECKING:
  from bamjax.inference import Upscaler
  from bamjax.networks import Network
  from bamjax.upscaling.jobs import Job

# What the network may use if --memory is omitted, in bytes.
_MOST_MEMORY = 2e9


@dataclasses.dataclass(frozen=True)
class Options(selection.OneNetwork):
  """What to upscale, and how."""

  # Flags of other programs, which mean ours.
  instead: ClassVar[Mapping[str, str]] = {"f": "ext", "format": "ext"}

  images: Sequence[str] = positional("IMAGE …")
  output: str = option(
    "results",
    "folder of the results, or the file of a single image",
    value="PATH",
    short="o",
  )
  preset: str | None = option(
    None,
    "which shipped weights for images without noise and compression: fast (the"
    " default), balanced or best; best averages over flips and rotations",
    choices=("fast", "balanced", "best"),
  )
  tile: str = option(
    "auto",
    "side of tiles in LR pixels, 0 for none; auto tiles images that do not fit"
    " in --memory",
    value="N",
    short="t",
  )
  degradation: str = option(
    "auto",
    "which shipped weights: photo, for noise, blur and compression (×2 and ×4);"
    " clean, for images without; auto takes photo for JPEG and lossy WebP",
    choices=("auto", "clean", "photo"),
  )
  passes: int = option(
    1,
    "passes over a tiled image that gather what attentions pool; each makes"
    " one more of them exact",
  )
  memory: float | None = option(
    None,
    "memory that the network may use with --tile=auto, in GB; if omitted, half"
    " of what is free, at most 2",
    value="GB",
  )
  suffix: str | None = option(
    None, "writes NAME_SUFFIX.EXT; if omitted, x2, x3 or x4"
  )
  ext: str = option(
    "auto",
    "format of the results: png, jpg, webp, tif or bmp; auto is that of the"
    " image",
    value="EXT",
  )
  quality: int | None = option(
    None, "quality of JPEG and lossy WebP, 1 to 100; if omitted, 95"
  )
  skip_existing: bool = option(
    False, "skip images that have a result, and images that are results"
  )
  self_ensemble: bool = option(
    False, "average over the eight flips and rotations of each image"
  )
  dtype: str = option(
    "auto",
    "precision of the computation; auto is bfloat16 for results of 8 bits on"
    " CPUs that multiply it natively, else float32",
    choices=("auto", "float32", "bfloat16"),
  )


def run(options: Options) -> int:
  """Upscales files, folders and globs.

  Returns:
    The exit status: 0, or 1 if an image was skipped.

  Raises:
    UserError: a flag, an input or the output is invalid. Nothing has been
      written then, or what has been written is complete.
  """
  # Imported here so that --help is immediate.
  from PIL import Image

  from bamjax import pretrained
  from bamjax.files import refuse_overwriting
  from bamjax.upscaling import batch
  from bamjax.upscaling import chosen
  from bamjax.upscaling import jobs as jobs_lib

  _check(options)
  # Pillow's limit guards against strangers' files; these the user has named.
  Image.MAX_IMAGE_PIXELS = None
  sources, empty = jobs_lib.find_inputs(options.images)
  if options.weights or options.run_dir:
    network = options.load()
    scale = network.scale
    choose = chosen.always(_upscaler(network, options))
  else:
    scale = options.scale or 2
    preset = chosen.PRESETS[options.preset or chosen.DEFAULT]
    options = dataclasses.replace(
      options,
      self_ensemble=options.self_ensemble or preset.self_ensemble,
    )
    choose = chosen.shipped(
      scale,
      options.degradation,
      lambda name: _upscaler(options.load(default=name), options),
      preset,
    )
  jobs, rivals = jobs_lib.plan_outputs(
    sources,
    scale,
    output=options.output,
    suffix=options.suffix,
    ext=options.ext,
    skip_existing=options.skip_existing,
  )
  if options.weights and os.path.isfile(
    read := pretrained.find(options.weights)
  ):
    for _, target in jobs:
      refuse_overwriting(target, [read])
  if options.skip_existing:
    jobs = _without_existing(jobs, scale, len(sources) - rivals)
  skipped = rivals + batch.upscale_files(jobs, choose, scale, options.quality)
  if skipped:
    count = counted(len(jobs) + rivals, "image")
    print(f"{skipped} of {count} left out", file=sys.stderr)
  return 1 if skipped or empty else 0


def _upscaler(network: "Network", options: Options) -> "Upscaler":
  from bamjax.inference import precision
  from bamjax.inference import Upscaler

  module = network.module
  if options.dtype == "auto" and precision.for_8_bits(module) != module:
    print(
      f"{network.source}: results of 8 bits are computed in bfloat16"
      " (--dtype=float32: not)"
    )
  return Upscaler(
    network.module,
    network.variables,
    dtype=options.dtype,
    self_ensemble=options.self_ensemble,
    tile=_tile(options.tile),
    passes=options.passes,
    memory=_memory(options.memory),
    padded=True,
    shared=True,
  )


def _memory(gigabytes: float | None) -> float:
  """Bytes that the network may use."""
  from bamjax.memory import spare_memory

  if gigabytes is not None:
    return gigabytes * 1e9
  return min(spare_memory(), _MOST_MEMORY)


def _tile(value: str) -> int | None:
  if value == "auto":
    return None
  if not value.isdecimal():
    raise UserError(f"--tile is auto or a number of LR pixels; got {value!r}")
  return int(value)


def _check(options: Options) -> None:
  """Raises UserError for values out of range."""
  _tile(options.tile)
  if options.passes < 0:
    raise UserError(f"--passes can't be negative; got {options.passes}")
  if options.memory is not None and not options.memory >= 0.001:
    raise UserError(
      f"--memory is in GB, and at least 0.001; got {options.memory}"
    )
  if options.weights or options.run_dir:
    own = "--weights" if options.weights else "--run_dir"
    for flag, given in (
      ("--degradation", options.degradation != "auto"),
      ("--preset", options.preset),
    ):
      if given:
        raise UserError(
          f"{flag} chooses among the shipped weights; leave it out with {own}"
        )
  if options.quality is not None and not 1 <= options.quality <= 100:
    raise UserError(f"--quality is from 1 to 100; got {options.quality}")


def _without_existing(jobs: "list[Job]", scale: int, sources: int) -> list:
  """Leaves out images that have a result, and says how many there are."""
  from bamjax.upscaling.jobs import without_existing

  if results := sources - len(jobs):
    found = counted(sources, "image")
    print(f"{results} of {found}: results of others, skipped")
  left, damaged = without_existing(jobs, scale)
  done = len(jobs) - len(left)
  print(f"{done} of {counted(len(jobs), 'image')}: has a result, skipped")
  for path in damaged:
    print(f"{plain(path)} is damaged, or of another size: made again")
  return left
