"""Which networks, and on which images: flags that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
from pathlib import Path
from typing import ClassVar
from typing import TYPE_CHECKING

from bamjax.commands.options import option
from bamjax.commands.options import SCALES
from bamjax.errors import UserError

if TYPE_CHECKING:
  from bamjax.data.degradation.degrader import Degrader
  from bamjax.data.test_sets import ImageSet
  from bamjax.networks import Network


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
  """What may be known about networks in addition to their weights."""

  heading: ClassVar[str] = "network"

  step: int | None = option(
    None, "checkpoint of the run; if omitted, the best by PSNR-Y"
  )
  model: str | None = option(
    None,
    "backbone, e.g. edsr or pan; if omitted, inferred from the weights",
    value="NAME",
  )
  attn: str | None = option(
    None,
    "attention, e.g. bam or native (the backbone's own); if omitted, inferred"
    " from the weights",
    value="NAME",
  )
  normalization: str | None = option(
    None,
    "input convention of published weights: paper, official or super_image;"
    " if omitted, the usual one of the backbone",
    value="NAME",
  )


@dataclasses.dataclass(frozen=True)
class OneNetwork(NetworkOptions):
  """A single network."""

  weights: str | None = option(
    None,
    "file of weights, or the name of shipped ones, e.g. pan-bam-x2",
    value="FILE",
  )
  run_dir: str | None = option(
    None, "folder of a training run, instead of --weights", value="DIR"
  )
  scale: int | None = option(
    None,
    "upscaling factor; if omitted, inferred from the weights",
    short="s",
    numbers=SCALES,
  )

  def load(self, default: str | None = None) -> Network:
    """Loads the network.

    Args:
      default: the name of weights, if neither --weights nor --run_dir is used.

    Raises:
      UserError: the flags contradict each other, or it can't be loaded.
    """
    if self.weights and self.run_dir:
      raise UserError("--weights and --run_dir exclude each other; use one")
    source = self.weights or self.run_dir or default
    if not source:
      raise UserError("no network: use --weights=FILE or --run_dir=DIR")
    return _load(self, source, self.scale)


@dataclasses.dataclass(frozen=True)
class NetworksAndImages(NetworkOptions):
  """Several networks, and the images to compare them on."""

  heading: ClassVar[str] = "networks and images"

  run_dir: Sequence[str] = option(
    (), "folders of training runs", value="DIR,DIR", paths=True
  )
  weights: Sequence[str] = option(
    (),
    "files of weights, or names of shipped ones, e.g. pan-bam-x2",
    value="FILE,FILE",
    paths=True,
  )
  outputs: Sequence[str] = option(
    (),
    "folders of super-resolved images that any program made, named like the HR"
    " images of --benchmarks, e.g. baby_x4_SR.png",
    value="DIR,DIR",
    paths=True,
  )
  scale: Sequence[int] = option(
    (),
    "upscaling factors, for weights that serve or fit several; if omitted,"
    " inferred from the weights",
    numbers=SCALES,
  )
  benchmarks: Sequence[str] = option(
    (),
    "folders of images, e.g. Set5; if omitted, the run's validation images",
    value="DIR,DIR",
    paths=True,
  )
  degradation: Sequence[str] = option(
    (),
    "what degrades LR: noise:SIGMA (of 255), jpeg:QUALITY, photo:SEED, or"
    " bicubic (nothing); if omitted, nothing, or for a run's validation images"
    " what it was trained with",
    value="NAME,NAME",
  )
  tile: int | None = option(
    None,
    "side of tiles in LR pixels, 0 for none; if omitted, only images that do"
    " not fit in memory are tiled",
  )

  @property
  def sources(self) -> list[str]:
    """Runs and files of weights, in this order."""
    return [*self.run_dir, *self.weights]

  @property
  def scales(self) -> list[int | None]:
    """Each scale once; [None] if it is inferred."""
    return [*dict.fromkeys(self.scale)] or [None]

  @property
  def folders(self) -> list[str | None]:
    """Each benchmark once; [None] for a run's own validation images."""
    once = {Path(folder).resolve(): folder for folder in self.benchmarks}
    return [*once.values()] or [None]

  def check(self) -> None:
    """Raises UserError for missing networks or contradicting flags."""
    if not self.sources and not self.outputs:
      raise UserError(
        "no network: use --run_dir=DIR or --weights=FILE, or --outputs=DIR for"
        " images"
      )
    if self.outputs:
      self.check_outputs()
    if self.tile is not None and self.tile < 0:
      raise UserError(f"--tile can't be negative; got {self.tile}")

  def check_outputs(self) -> None:
    """Raises UserError if folders of SR images can't be scored."""
    if not self.benchmarks:
      raise UserError(
        "folders of images need --benchmarks=DIR for the HR images"
      )
    if len(self.scales) > 1:
      raise UserError(
        "folders of images have one scale each; use one --scale, or none"
      )
    if self.degradation:
      raise UserError(
        "--degradation is for networks: it can't change what LR folders of"
        " images were made from"
      )

  def degraders(self) -> list[Degrader | None]:
    """What --degradation names, None for nothing; raises UserError."""
    from bamjax.data.degradation import degrader

    return [degrader.parse(text) for text in self.degradation]

  def load(self, source: str, scale: int | None) -> Network:
    """Loads the network of one source and scale."""
    return _load(self, source, scale)


def _load(options: NetworkOptions, source: str, scale: int | None) -> Network:
  from bamjax.networks import load_network
  from bamjax.weights import Hints

  hints = Hints(
    model=options.model,
    attn=options.attn,
    scale=scale,
    normalization=options.normalization,
    step=options.step,
  )
  return load_network(source, hints)


def find_benchmark(folder: str | None, network: Network) -> ImageSet:
  """Finds the images of a benchmark, or of a run's validation.

  Args:
    folder: the benchmark's folder; None for the validation images.
    network: whose scale the images must have; a run, if `folder` is None.

  Raises:
    UserError: there are none.
  """
  from bamjax.data import test_sets

  if folder is not None:
    return test_sets.find_benchmark(folder, network.scale)
  if network.config is None:
    raise UserError(
      f"no images to evaluate {network.source} on; use --benchmarks=DIR"
    )
  # Imported here: files of weights do without the packages of training.
  from bamjax.runs.experiment import make_degrader
  from bamjax.runs.experiment import make_source
  from bamjax.training import run_data

  source = make_source(network.config)
  run_data.warn_of_other_images(Path(network.source), network.config, source)
  data = network.config.data
  folder = data.val_dir or data.data_dir
  return test_sets.ImageSet(
    f"{source.name} validation",
    source.val,
    str(Path(folder).resolve()) if folder else "",
    make_degrader(network.config),
  )


def degraded(
  benchmark: ImageSet, degraders: Sequence[Degrader | None]
) -> list[ImageSet]:
  """A benchmark with each degradation; as it is if there is none."""
  if not degraders:
    return [benchmark]
  return [dataclasses.replace(benchmark, degrader=each) for each in degraders]
