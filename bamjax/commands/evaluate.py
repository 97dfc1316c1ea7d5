"""What evaluate.py does: networks × benchmarks × protocols, shown and kept."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import itertools
import logging
from pathlib import Path
from typing import Any

from PIL import Image

from bamjax import pretrained
from bamjax.data.test_sets import Benchmark
from bamjax.data.test_sets import find_benchmark
from bamjax.errors import UserError
from bamjax.evaluation import comparison
from bamjax.evaluation import paper_tables
from bamjax.evaluation import protocols as protocols_lib
from bamjax.evaluation import results
from bamjax.evaluation import scoring
from bamjax.evaluation.tables import Table
from bamjax.files import check_writable
from bamjax.files import refuse_overwriting
from bamjax.files import replacing
from bamjax.files import to_json
from bamjax.files import write_atomically
from bamjax.inference import Upscaler
from bamjax.networks import load_network
from bamjax.networks import Network
from bamjax.runs import config as config_lib
from bamjax.weights import Hints


@dataclasses.dataclass(frozen=True)
class Options:
  """What is asked for; flags of the same names in evaluate.py explain each."""

  run_dir: Sequence[str] = ()
  weights: Sequence[str] = ()
  step: int | None = None
  model: str | None = None
  attn: str | None = None
  scale: Sequence[str] = ()
  normalization: str | None = None
  benchmarks: Sequence[str] = ()
  protocol: Sequence[str] = ("matlab",)
  compare: Sequence[str] = ()
  tables: bool = False
  self_ensemble: bool = False
  save_images: bool = False
  tile: int | None = None
  output: str | None = None


OPTIONS = tuple(field.name for field in dataclasses.fields(Options))


def run(options: Options) -> int:
  """Evaluates, prints tables and writes them to the output folder.

  Returns:
    The exit status: 0, or 1 if an image, a benchmark or a network was left
    out, which a warning has named.

  Raises:
    UserError: an option, a file or a folder is at fault.
  """
  sources = [*options.run_dir, *options.weights, *options.compare]
  if options.tables and not sources:
    _tables(options)
    return 0
  check(options, sources)
  protocols = protocols_lib.find(options.protocol)
  output = _output(options)
  # Told before the work, not after it.
  results.read(output)
  _check_paths(options, sources)
  check_writable(output / results.RESULTS)
  folders, scales = _folders(options), _scales(options)
  bad = _Bad(raises=max(map(len, (sources, folders, scales))) == 1)
  rows = []
  for source, scale in itertools.product(sources, scales):
    # Without one of two there is nothing to compare.
    kind = () if options.compare else UserError
    network = bad.attempt(source, _load, options, source, scale, kind=kind)
    for folder in folders if network else ():
      benchmark = bad.attempt(folder or source, _find, folder, network)
      if benchmark:
        rows += _score(options, output, network, benchmark, protocols, bad)
  if not rows:
    raise UserError("nothing was scored; see the warnings above")
  if options.compare:
    bad.count += _compare(rows, output)
  if options.tables:
    _tables(options)
  else:
    print(f"written to {output}")
  return 1 if bad.count or any(row["left_out"] for row in rows) else 0


class _Bad:
  """Leaves out what is at fault among others, and names it.

  Attributes:
    count: how many were left out.
  """

  def __init__(self, raises: bool):
    """`raises`: there is but one, whose fault is raised."""
    self._raises = raises
    self.count = 0

  def attempt(self, name: str, call: Callable, *args, kind=UserError) -> Any:
    """What a call returns; None after a warning where it raises a `kind`."""
    try:
      return call(*args)
    except kind as error:
      if self._raises:
        raise
      logging.warning("left out: %s: %s", name, error)
      self.count += 1
      return None


def _score(options, output, network, benchmark, protocols, bad) -> list:
  """Scores a network on a benchmark; shows, writes and returns the rows."""
  place = {
    "path": _path(network),
    "tile": options.tile,
    "folder": benchmark.folder,
    "self_ensemble": options.self_ensemble,
  }
  place["saved"] = _saved(options, output, network, benchmark.name, place)
  found = bad.attempt(
    benchmark.name,
    scoring.evaluate,
    Upscaler(
      network.module,
      network.variables,
      self_ensemble=options.self_ensemble,
      tile=options.tile,
      shared=True,
    ),
    benchmark.images,
    network.scale,
    protocols,
    _saver(output, place["saved"], benchmark),
    # What cannot be written ends the work.
    kind=scoring.NothingScored,
  )
  rows = [
    results.make_row(network, benchmark.name, p, found[p.name], **place)
    for p in (protocols if found else ())
  ]
  # After each benchmark: a run that is cut off leaves what it measured.
  if rows:
    results.write(output, rows)
  for row in rows:
    print(results.table(row).text(), end="\n\n", flush=True)
  return rows


def check(options: Options, sources: Sequence[str]) -> None:
  """Raises UserError for options that contradict each other."""
  if not sources:
    raise UserError(
      "no network named; give --run_dir=DIR, a folder of train.py, or"
      " --weights=FILE"
    )
  if options.compare and len(options.compare) != 2:
    raise UserError(
      "--compare takes two runs or files, A,B; got"
      f" {','.join(options.compare)!r}"
    )
  if options.compare and len(sources) > 2:
    raise UserError("--compare goes without --run_dir and --weights")
  if options.tile is not None and options.tile < 0:
    raise UserError(f"--tile can't be negative; got {options.tile}")


def _check_paths(options: Options, sources: Sequence[str]) -> None:
  """Raises UserError for a network or a benchmark that is not there."""
  for source in sources:
    if not (path := pretrained.find(source)).exists():
      raise UserError(f"{path}: no such file, and no folder of a run")
  for folder in options.benchmarks:
    if not Path(folder).is_dir():
      raise UserError(f"there is no folder {folder}")


def _output(options: Options) -> Path:
  """The folder of the results: a run's own where it is scored alone."""
  if options.output:
    return Path(options.output)
  alone = len(options.run_dir) == 1 and not options.weights
  return Path(options.run_dir[0] if alone else "results")


def _scales(options: Options) -> list[int | None]:
  try:
    return list(dict.fromkeys(map(int, options.scale))) or [None]
  except ValueError:
    raise UserError(
      "--scale takes whole numbers, separated by commas; got"
      f" {','.join(options.scale)!r}"
    ) from None


def _load(options: Options, source: str, scale: int | None) -> Network:
  return load_network(
    source,
    Hints(
      options.model, options.attn, scale, options.normalization, options.step
    ),
  )


def _folders(options: Options) -> list[str | None]:
  """Each benchmark once; [None], a run's own images, where none is named."""
  found = {Path(folder).resolve(): folder for folder in options.benchmarks}
  return list(found.values()) or [None]


def load_networks(
  options: Options, sources: Sequence[str]
) -> Iterator[Network]:
  """Loads one after the other."""
  for source, scale in itertools.product(sources, _scales(options)):
    yield _load(options, source, scale)


def _find(folder: str | None, network: Network) -> Benchmark:
  """A benchmark, or a run's validation images.

  Raises:
    UserError: there is none.
  """
  if folder is not None:
    return find_benchmark(folder, network.scale)
  if network.config is None:
    raise UserError(
      f"no images to score {network.source} on; give --benchmarks=DIR"
    )
  # Only here, since a file of weights needs no part of training.
  from bamjax.training import run_data

  source = config_lib.make_source(network.config)
  run_data.warn_of_other_images(Path(network.source), network.config, source)
  data = network.config.data
  folder = data.val_dir or data.data_dir
  return Benchmark(
    f"{source.name} validation",
    source.val,
    str(Path(folder).resolve()) if folder else "",
  )


def find_benchmarks(options: Options, network: Network) -> list[Benchmark]:
  """The benchmarks that are named, or a run's validation images.

  Raises:
    UserError: there are none.
  """
  return [_find(folder, network) for folder in _folders(options)]


def _path(network: Network) -> str:
  """Where a network lies, whatever the folder that it was named from."""
  return str(pretrained.find(network.source).resolve())


def _saved(
  options: Options,
  output: Path,
  network: Network,
  benchmark: str,
  place: dict,
) -> str | None:
  """The folder of the super-resolved images, below the output."""
  if not options.save_images:
    return None
  plus = "-plus" if options.self_ensemble else ""
  name = f"{network.model}-{network.attn}-x{network.scale}{plus}"
  return results.saved_in(
    results.read(output),
    results.describe(network, benchmark, **place),
    f"images/{benchmark}/{name}",
  )


def _saver(output: Path, folder: str | None, benchmark: Benchmark):
  """Writes images to output/folder, a folder a degradation."""
  if folder is None:
    return None
  read = [
    path
    for image in benchmark.images
    for path in (getattr(image, "hr", None), getattr(image, "lr", None))
    if path
  ]

  def save(protocol, image, sr):
    path = output / folder / protocol.degradation.name / f"{image}.png"
    refuse_overwriting(path, read)
    with replacing(path) as temporary:
      Image.fromarray(sr).save(temporary)

  return save


def _write(output: Path, name: str, rows: list, tables: list[Table]) -> None:
  write_atomically(output / f"{name}.json", to_json(rows, indent=2) + "\n")
  markdown = "\n".join(table.markdown() for table in tables)
  write_atomically(output / f"{name}.md", markdown)


def _compare(rows: list[results.Row], output: Path) -> int:
  """Compares the two networks' rows of each scale, benchmark and protocol.

  Returns:
    How many could not be compared.
  """
  groups = {}
  for row in rows:
    key = row["scale"], row["folder"], row["benchmark"], row["protocol"]
    groups.setdefault(key, []).append(row)
  pairs = [group for group in groups.values() if len(group) == 2]
  for scale, images, benchmark, _ in (
    key for key, group in groups.items() if len(group) != 2
  ):
    logging.warning(
      "×%d on %s is of one of the two, and not compared",
      scale,
      images or benchmark,
    )
  if not pairs:
    raise UserError(
      "the two have no scale and images in common: A and B are of different"
      " scales, or were validated on different images; give --benchmarks"
    )
  bad = _Bad(raises=len(pairs) == 1)
  found = [
    bad.attempt(f"comparison on {a['benchmark']}", comparison.compare, a, b)
    for a, b in pairs
  ]
  found = [each for each in found if each]
  tables = [comparison.table(f) for f in found]
  for table in tables:
    print(table.text(), end="\n\n")
  _write(output, "comparison", found, tables)
  return bad.count


def _tables(options: Options) -> None:
  output = _output(options)
  rows = paper_tables.compare(results.read(output))
  tables = paper_tables.tables(rows)
  for table in tables:
    print(table.text(), end="\n\n")
  _write(output, "tables", rows, tables)
  print(f"written to {output}")
