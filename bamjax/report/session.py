"""What evaluate.py does: networks × benchmarks × protocols, shown and kept."""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import json
from pathlib import Path

from PIL import Image

from bamjax import comparison
from bamjax import config as config_lib
from bamjax import evaluation
from bamjax import protocols as protocols_lib
from bamjax.data.benchmarks import Benchmark
from bamjax.data.benchmarks import find_benchmark
from bamjax.errors import UserError
from bamjax.files import write_atomically
from bamjax.inference import Upscaler
from bamjax.networks import load_network
from bamjax.networks import Network
from bamjax.report import full
from bamjax.report import results
from bamjax.report.tables import Table


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


def run(options: Options) -> None:
  """Evaluates, prints tables and writes them to the output folder.

  Raises:
    UserError: an option, a file or a folder is at fault.
  """
  sources = [*options.run_dir, *options.weights, *options.compare]
  if options.tables and not sources:
    return _tables(options)
  check(options, sources)
  protocols = protocols_lib.find(options.protocol)
  output = _output(options)
  # Told before the work, not after it.
  results.read(output)
  rows = {}
  for network in load_networks(options, sources):
    upscale = Upscaler(
      network.module,
      network.variables,
      self_ensemble=options.self_ensemble,
      tile=options.tile,
    )
    for benchmark in find_benchmarks(options, network):
      found = evaluation.evaluate(
        upscale,
        benchmark.pictures,
        network.scale,
        protocols,
        _saver(options, output, benchmark, network),
      )
      fresh = [
        results.make_row(
          network, benchmark.name, p, found[p.name], options.self_ensemble
        )
        for p in protocols
      ]
      for row in fresh:
        print(results.table(row).text(), end="\n\n", flush=True)
        key = row["scale"], row["benchmark"], row["protocol"]
        rows.setdefault(key, []).append(row)
      # After each benchmark: a run that is cut off leaves what it measured.
      results.write(output, fresh)
  if options.compare:
    _compare(rows.values(), output)
  if options.tables:
    return _tables(options)
  print(f"written to {output}")


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


def _output(options: Options) -> Path:
  """The folder of the results: a run's own where it is scored alone."""
  if options.output:
    return Path(options.output)
  alone = len(options.run_dir) == 1 and not options.weights
  return Path(options.run_dir[0] if alone else "results")


def _scales(options: Options) -> list[int | None]:
  try:
    return [int(scale) for scale in options.scale] or [None]
  except ValueError:
    raise UserError(
      "--scale takes whole numbers, separated by commas; got"
      f" {','.join(options.scale)!r}"
    ) from None


def load_networks(
  options: Options, sources: Sequence[str]
) -> Iterator[Network]:
  """Loads one after the other, so that one is in memory at a time."""
  for source in sources:
    for scale in _scales(options):
      yield load_network(
        source,
        model=options.model,
        attn=options.attn,
        scale=scale,
        normalization=options.normalization,
        step=options.step,
      )


def find_benchmarks(options: Options, network: Network) -> list[Benchmark]:
  """The benchmarks that are named, or a run's validation pictures.

  Raises:
    UserError: there are none.
  """
  if options.benchmarks:
    return [find_benchmark(f, network.scale) for f in options.benchmarks]
  if network.config is None:
    raise UserError(
      f"no pictures to score {network.source} on; give --benchmarks=DIR"
    )
  source = config_lib.make_source(network.config)
  return [Benchmark(f"{source.name} validation", source.val)]


def _saver(
  options: Options, output: Path, benchmark: Benchmark, network: Network
):
  """Writes pictures to images/BENCHMARK/NETWORK/, a folder a degradation."""
  if not options.save_images:
    return None
  plus = "-plus" if options.self_ensemble else ""
  name = f"{network.model}-{network.attn}-x{network.scale}{plus}"
  root = output / "images" / benchmark.name / name

  def save(protocol, picture, sr):
    path = root / protocol.degradation.name / f"{picture}.png"
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(sr).save(path)
    except OSError as error:
      raise UserError(f"{path} cannot be written: {error.strerror}") from None

  return save


def _write(output: Path, name: str, rows: list, tables: list[Table]) -> None:
  text = json.dumps(rows, indent=2) + "\n"
  write_atomically(output / f"{name}.json", text)
  markdown = "\n".join(table.markdown() for table in tables)
  write_atomically(output / f"{name}.md", markdown)


def _compare(pairs, output: Path) -> None:
  found = []
  for pair in pairs:
    if len(pair) != 2:
      raise UserError(
        "the two have no scale and pictures in common: A and B are of different"
        " scales, or were validated on different pictures; give --benchmarks"
      )
    found.append(comparison.compare(*pair))
  tables = [comparison.table(f) for f in found]
  for table in tables:
    print(table.text(), end="\n\n")
  _write(output, "comparison", found, tables)


def _tables(options: Options) -> None:
  output = _output(options)
  rows = full.compare(results.read(output))
  tables = full.tables(rows)
  for table in tables:
    print(table.text(), end="\n\n")
  _write(output, "tables", rows, tables)
  print(f"written to {output}")
