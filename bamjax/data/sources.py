"""Sources of LR-HR image pairs for training and validation."""

from collections.abc import Callable
import contextlib
import dataclasses
import importlib.resources
import logging
from pathlib import Path
import threading
from typing import TYPE_CHECKING
import urllib.request

import numpy as np

from bamjax import pixels
from bamjax.data import lazy_tensorflow
from bamjax.errors import require
from bamjax.errors import UserError
from bamjax.files import readable
from bamjax.images import resize
from bamjax.images import rgb
from bamjax.terminal import counted

if TYPE_CHECKING:
  import tensorflow_datasets as tfds

_logger = logging.getLogger(__name__)

# LR, h×w×3, and HR, sh×sw×3, uint8.
Pair = tuple[np.ndarray, np.ndarray]

KINDS = ("sample", "folder", "div2k")

# Photographs in scikit-image's wheel; its other images are gray, drawings or
# textures.
_SAMPLE_TRAIN = (
  "coffee.png",
  "hubble_deep_field.jpg",
  "ihc.png",
  "motorcycle_left.png",
  "motorcycle_right.png",
  "retina.jpg",
  "rocket.jpg",
)
_SAMPLE_VAL = ("astronaut.png", "chelsea.png")

_DIV2K_SCALES = (2, 3, 4, 8)  # of TensorFlow Datasets' bicubic configurations


@dataclasses.dataclass(frozen=True)
class ImagePair:
  """An image that is read on demand.

  Attributes:
    name: the image's name in tables and messages.
    load: returns LR, h×w×3, and HR, sh×sw×3, uint8; raises UserError if a file
      cannot be read.
    stamp: changes whenever the content may have changed, to invalidate caches.
  """

  name: str
  load: Callable[[], Pair]
  stamp: str = ""


@dataclasses.dataclass(frozen=True)
class Source:
  """Images for training and for validation."""

  name: str
  train: list[ImagePair]
  val: list[ImagePair]


def make_source(
  kind: str,
  scale: int,
  *,
  data_dir: str | None = None,
  val_dir: str | None = None,
  manual_dir: str | None = None,
) -> Source:
  """Finds the images of a source without reading them.

  Args:
    kind: "sample", "folder" or "div2k".
    scale: upscaling factor.
    data_dir: for "folder", a folder of HR images; for "div2k", a folder with
      DIV2K's own layout, or the one where TensorFlow Datasets keeps its data.
    val_dir: for "folder" only, a folder of HR images to validate on. Without
      it, every 20th image of `data_dir` (at least one) is held out.
    manual_dir: for "div2k" only, a folder with the downloaded zip files.

  Raises:
    UserError: the kind is unknown, or its images are not available.
  """
  if kind == "sample":
    return _sample(scale)
  if kind == "folder":
    return _folder(scale, data_dir, val_dir)
  if kind == "div2k":
    return _div2k(scale, data_dir, manual_dir)
  raise UserError(f"unknown data {kind!r}; choose from {', '.join(KINDS)}")


def _stamp(scale: int, *paths: Path) -> str:
  """The scale, and each file's path, size and time of modification."""
  parts = [f"x{scale}"]
  for path in paths:
    try:
      found = path.stat()
      parts.append(f"{path.absolute()} {found.st_size} {found.st_mtime_ns}")
    except OSError:
      parts.append(f"{path.absolute()} absent")
  return readable("\n".join(parts))


def _from_hr(path: Path, scale: int) -> ImagePair:
  """An image with LR made by MATLAB-compatible bicubic downscaling."""

  def load() -> Pair:
    hr = resize.mod_crop(rgb.read_rgb(path), scale)
    if 0 in hr.shape:
      raise UserError(f"{path} is smaller than {scale}×{scale} pixels")
    return resize.downscale(hr, scale), hr

  return ImagePair(readable(path.stem), load, _stamp(scale, path))


def _sample(scale: int) -> Source:
  require("--data=sample", "skimage", extra="train")
  folder = Path(str(importlib.resources.files("skimage"))) / "data"
  missing = [
    name
    for name in (*_SAMPLE_TRAIN, *_SAMPLE_VAL)
    if not (folder / name).exists()
  ]
  if missing:
    raise UserError(
      f"this scikit-image lacks {', '.join(missing)}; install the version in"
      " requirements.txt, or use --data=folder"
    )
  train, val = (
    [_from_hr(folder / name, scale) for name in names]
    for names in (_SAMPLE_TRAIN, _SAMPLE_VAL)
  )
  return Source("sample", train, val)


def _folder(scale: int, data_dir: str | None, val_dir: str | None) -> Source:
  if not data_dir:
    raise UserError("--data=folder needs --data_dir=DIR, a folder of HR images")
  paths = rgb.list_images(data_dir)
  if val_dir:
    held_out = rgb.list_images(val_dir)
  else:
    if len(paths) == 1:
      raise UserError(
        f"{data_dir} has only one image; add more, or use --val_dir=DIR"
      )
    held_out = paths[::20]
    paths = [path for i, path in enumerate(paths) if i % 20]
  train, val = (
    [_from_hr(path, scale) for path in found] for found in (paths, held_out)
  )
  return Source("folder", train, val)


def _div2k(scale: int, data_dir: str | None, manual_dir: str | None) -> Source:
  if data_dir and (Path(data_dir) / "DIV2K_train_HR").is_dir():
    return Source(
      "div2k",
      _div2k_split(Path(data_dir), "train", scale),
      _div2k_split(Path(data_dir), "valid", scale),
    )
  count = _count(data_dir)
  if count:
    raise UserError(
      f"{data_dir} has {counted(count, 'image')} but no folder DIV2K_train_HR;"
      " to train on your own images, add --data=folder"
    )
  if scale not in _DIV2K_SCALES:
    raise UserError(
      f"DIV2K is published at {', '.join(f'×{s}' for s in _DIV2K_SCALES)}, not"
      f" at ×{scale}; use its HR images with --data=folder --data_dir=DIR"
    )
  tfds = lazy_tensorflow.load_datasets()
  builder = tfds.builder(f"div2k/bicubic_x{scale}", data_dir=data_dir)
  return from_builder(builder, manual_dir)


def _count(folder: str | None) -> int:
  """The number of images in a folder, 0 if there is no such folder."""
  with contextlib.suppress(UserError):
    return len(rgb.list_images(folder)) if folder else 0
  return 0


def _div2k_split(root: Path, split: str, scale: int) -> list[ImagePair]:
  """One split in DIV2K's own layout, with its LR files if they exist."""
  paths = rgb.list_images(root / f"DIV2K_{split}_HR")
  lr_dir = root / f"DIV2K_{split}_LR_bicubic" / f"X{scale}"
  if not lr_dir.is_dir():
    _logger.warning("no folder %s: making LR by bicubic downscaling", lr_dir)
    return [_from_hr(path, scale) for path in paths]

  def pair(path: Path) -> ImagePair:
    lr_path = lr_dir / f"{path.stem}x{scale}.png"

    def load() -> Pair:
      lr, hr = rgb.read_rgb(lr_path), rgb.read_rgb(path)
      return _check_pair(path, lr, hr, scale)

    return ImagePair(readable(path.stem), load, _stamp(scale, lr_path, path))

  return [pair(path) for path in paths]


def _check_pair(
  name: str | Path, lr: np.ndarray, hr: np.ndarray, scale: int
) -> Pair:
  # DIV2K's LR was made from HR cropped to a multiple of the scale.
  hr = resize.mod_crop(hr, scale)
  if hr.shape != (lr.shape[0] * scale, lr.shape[1] * scale, 3):
    raise UserError(
      f"{name}: LR {lr.shape[1]}×{lr.shape[0]} and HR"
      f" {hr.shape[1]}×{hr.shape[0]} do not fit at ×{scale}"
    )
  pixels.check_uint8(lr, f"{name}: LR")
  pixels.check_uint8(hr, f"{name}: HR")
  return lr, hr


def from_builder(
  builder: "tfds.core.DatasetBuilder", manual_dir: str | None = None
) -> Source:
  """Returns the images of a TensorFlow Datasets builder.

  Args:
    builder: one like `div2k/bicubic_x2`, with features `lr` and `hr` and splits
      `train` and `validation`.
    manual_dir: folder with the downloaded archives, which are used in place.

  Raises:
    UserError: the data is neither prepared nor in `manual_dir`, and cannot be
      downloaded.
  """
  scale = int(builder.builder_config.name.rpartition("x")[2])
  if not builder.is_prepared():
    _prepare(builder, manual_dir)
  splits = {}
  for split in ("train", "validation"):
    count = builder.info.splits[split].num_examples
    splits[split] = [
      _from_split(builder, split, i, scale) for i in range(count)
    ]
  return Source("div2k", splits["train"], splits["validation"])


def _from_split(
  builder: "tfds.core.DatasetBuilder", split: str, index: int, scale: int
) -> ImagePair:
  """One example, read by its index, independently of the others."""
  name = f"{split} {index}"

  def load() -> Pair:
    tfds = lazy_tensorflow.load_datasets()
    instruction = f"{split}[{index}:{index + 1}]"
    data = builder.as_dataset(split=instruction, shuffle_files=False)
    example = next(iter(tfds.as_numpy(data)))
    return _check_pair(name, example["lr"], example["hr"], scale)

  info = builder.info.splits[split]
  stamp = f"{builder.data_path} {info.num_examples} {info.num_bytes}"
  return ImagePair(name, load, stamp)


def _prepare(
  builder: "tfds.core.DatasetBuilder", manual_dir: str | None
) -> None:
  tfds = lazy_tensorflow.load_datasets()
  # TensorFlow Datasets has no public name for this error.
  from tensorflow_datasets.core.download import download_manager

  missing = [
    url
    for url in _archives(builder)
    if not manual_dir
    or not (Path(manual_dir) / url.rpartition("/")[2]).exists()
  ]
  if missing and not _reachable(missing[0]):
    raise UserError(
      "DIV2K is not on disk and cannot be downloaded; use --data_dir=DIR (a"
      " folder with DIV2K_train_HR/ …), train on your own images with"
      " --data=folder --data_dir=DIR, or on the built-in sample"
      " with --config=configs/quickstart.py"
    )
  config = tfds.download.DownloadConfig(manual_dir=manual_dir)
  try:
    builder.download_and_prepare(download_config=config)
  except (OSError, download_manager.NonMatchingChecksumError) as error:
    raise UserError(
      f"cannot prepare DIV2K ({' '.join(str(error).split())}); replace or"
      " remove that archive, or use --data_dir=DIR (a folder with"
      " DIV2K_train_HR/ …)"
    ) from error


def _archives(builder: "tfds.core.DatasetBuilder") -> list[str]:
  """The URLs of the archives that one configuration of DIV2K needs."""
  wanted = ("train_HR", "valid_HR", builder.builder_config.name.lower())
  urls = [str(url) for url in builder.url_infos]
  # "bicubic_x8" is published as "LR_x8".
  names = [w.replace("bicubic_x8", "lr_x8") for w in wanted]
  return [u for u in urls if any(name.lower() in u.lower() for name in names)]


def _reachable(url: str, seconds: float = 3) -> bool:
  """Whether a server answers within a few seconds."""
  answered = threading.Event()

  def ask() -> None:
    request = urllib.request.Request(url, method="HEAD")
    # Any error means that there is no answer.
    with contextlib.suppress(Exception):
      with urllib.request.urlopen(request, timeout=seconds):
        answered.set()

  # urlopen's timeout does not cover resolving the host's name, which can take a
  # minute without a network. A daemon thread can be abandoned.
  thread = threading.Thread(target=ask, daemon=True)
  thread.start()
  thread.join(seconds)
  return answered.is_set()
