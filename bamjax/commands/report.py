r"""Make an HTML page that compares the outputs of networks.

  bamjax report --weights=imdn_x2.safetensors,pan_x2.safetensors \
      --benchmarks=Set5
  bamjax report --run_dir=runs/pan-bam-x2-sample,runs/pan-ca-x2-sample
  bamjax report --weights=imdn_x4.safetensors --outputs=my_images \
      --benchmarks=Set5
  bamjax report --weights=pan-bam-x2,pan-bam-x2-photo --benchmarks=Set5 \
      --degradation=jpeg:60

The page is one file that works offline. Without --benchmarks it shows the
validation images of the first run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from bamjax import pretrained
from bamjax.commands import selection
from bamjax.commands.options import option
from bamjax.errors import require
from bamjax.errors import RUN_PACKAGES
from bamjax.errors import UserError
from bamjax.terminal import counted

if TYPE_CHECKING:
  from bamjax.data.sr_files import SrFiles
  from bamjax.data.test_sets import ImageSet
  from bamjax.networks import Network
  from bamjax.report.side_by_side import AnyEntry

_MOST = 6  # networks: the page has as many colors

# What a page reads of a run's folder; the page may be written next to it.
_OF_A_RUN = (
  "checkpoints",
  "config.json",
  "data.json",
  "metrics.jsonl",
  "summary.json",
)


@dataclasses.dataclass(frozen=True)
class Options(selection.NetworksAndImages):
  """What to show."""

  images: int = option(
    5, "images of each benchmark to show, those that differ most"
  )
  output: str = option("report.html", "file of the page", value="FILE")

  def check(self) -> None:
    """Raises UserError for missing networks or values out of range."""
    super().check()
    if self.images < 1:
      raise UserError(f"--images must be at least 1; got {self.images}")
    count = len(self.sources) * len(self.scales) + len(self.outputs)
    if count > _MOST:
      raise UserError(f"a page compares at most {_MOST} networks; got {count}")
    if Path(self.output).is_dir():
      raise UserError(
        f"{self.output} is a folder; use a file, {self.output}/report.html"
      )


def run(options: Options) -> int:
  """Compares networks and writes the page.

  Returns:
    The exit status: 0, or 1 if an image was skipped.

  Raises:
    UserError: a flag, a file or a folder is invalid, or a package is missing.
  """
  options.check()
  runs = any(Path(source).is_dir() for source in options.sources)
  require(
    "a report",
    *("jinja2", "matplotlib", *(RUN_PACKAGES if runs else ())),
    extra="report,train" if runs else "report",
  )
  # Imported here so that --help is immediate.
  from bamjax.files import check_writable
  from bamjax.files import refuse_overwriting
  from bamjax.files import write_atomically
  from bamjax.inference import Upscaler
  from bamjax.report import document
  from bamjax.report import side_by_side

  degraders = options.degraders()
  output = Path(options.output)
  refuse_overwriting(output, _read(map(pretrained.find, options.sources)))
  networks = [
    options.load(source, scale)
    for source in options.sources
    for scale in options.scales
  ]
  known = {network.scale for network in networks}
  default = min(known) if len(known) == 1 else None
  images = [_sr_files(options, source, default) for source in options.outputs]
  named = labels([*networks, *(found[0] for found in images)])
  entries: list[AnyEntry] = [
    side_by_side.Entry(
      network,
      Upscaler(
        network.module, network.variables, tile=options.tile, shared=True
      ),
      label,
      number,
    )
    for number, (network, label) in enumerate(
      zip(networks, named, strict=False)
    )
  ]
  for found in images:
    number = len(entries)
    entries.append(
      side_by_side.SrEntry(
        found[0].source, found[0].scale, found, named[number], number
      )
    )
  scales = sorted({entry.scale for entry in entries})
  groups = [[e for e in entries if e.scale == s] for s in scales]
  # All benchmarks before the work, so that mistakes are reported at once.
  work = [
    (group, each)
    for group in groups
    for benchmark in _benchmarks(options.folders, group)
    for each in selection.degraded(benchmark, degraders)
  ]
  for _, benchmark in work:
    if benchmark.folder:
      refuse_overwriting(output, _images(benchmark.folder))
  for source in options.outputs:
    refuse_overwriting(output, _images(source))
  check_writable(output)
  comparisons = []
  for group, benchmark in work:
    comparison = side_by_side.run_networks(group, benchmark, options.images)
    comparisons.append(comparison)
    print(
      f"{comparison.title}: {counted(len(comparison.names), 'image')},"
      f" {len(comparison.shown)} shown",
      flush=True,
    )
  page = document.page(entries, comparisons)
  write_atomically(output, page)
  print(f"written to {output}, {len(page.encode()) / 1e6:.1f} MB")
  return 1 if any(each.left_out for each in comparisons) else 0


def _sr_files(
  options: Options, source: str, default: int | None
) -> list[SrFiles]:
  """The files of a folder of SR images for each benchmark, at one scale.

  Raises:
    UserError: no file matches an HR image, or the scale can't be inferred.
  """
  from bamjax.data.sr_files import find_sr_files

  (scale,) = options.scales
  found = []
  for folder in options.benchmarks:
    _, files = find_sr_files(source, folder, scale, default)
    found.append(files)
    scale = files.scale
  return found


def labels(networks: Sequence[Network | SrFiles]) -> list[str]:
  """Returns short, distinct names of networks and of folders of images.

  "imdn cca ×2"; with the name of the file or folder if several networks share
  that, and with a number if they share both.
  """
  titles = [network.title for network in networks]
  shared = Counter(titles)
  names = [
    title if shared[title] == 1 else f"{title} · {Path(network.source).name}"
    for title, network in zip(titles, networks, strict=True)
  ]
  total = Counter(names)
  seen: Counter[str] = Counter()
  for i, name in enumerate(names):
    seen[name] += 1
    if total[name] > 1:
      names[i] = f"{name} #{seen[name]}"
  return names


def _benchmarks(
  folders: Sequence[str | None], group: Sequence[AnyEntry]
) -> list[ImageSet]:
  """The benchmarks for networks of one scale, with distinct names."""
  from bamjax.data import test_sets
  from bamjax.report.side_by_side import Entry

  networks = [entry.network for entry in group if isinstance(entry, Entry)]
  runs = [network for network in networks if network.config is not None]
  found = [
    selection.find_benchmark(folder, (runs or networks)[0])
    if folder is None
    else test_sets.find_benchmark(folder, group[0].scale)
    for folder in folders
  ]
  shared = Counter(benchmark.name for benchmark in found)
  return [
    dataclasses.replace(each, name=f"{each.name} ({each.folder})")
    if shared[each.name] > 1
    else each
    for each in found
  ]


def _read(sources: Iterable[Path]) -> Iterator[Path]:
  """Files of weights, and what is read of runs."""
  for source in sources:
    if source.is_dir():
      yield from (source / name for name in _OF_A_RUN)
    else:
      yield source


def _images(folder: str) -> Iterator[Path]:
  """Image files in a folder, the page may be written next to them."""
  from bamjax.images.rgb import is_image

  return (path for path in Path(folder).rglob("*") if is_image(path))
