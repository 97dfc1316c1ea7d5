"""What report.py does: networks × benchmarks, as one page."""

from collections.abc import Sequence
import dataclasses
from pathlib import Path

from bamjax.data.benchmarks import find_benchmark
from bamjax.errors import UserError
from bamjax.files import write_atomically
from bamjax.inference import Upscaler
from bamjax.networks import Network
from bamjax.report import session as evaluation
from bamjax.report.page import compare
from bamjax.report.page import document

_MOST = 6  # networks of one scale: there are as many colours


@dataclasses.dataclass(frozen=True)
class Options:
  """What is asked for; flags of the same names in report.py explain each."""

  run_dir: Sequence[str] = ()
  weights: Sequence[str] = ()
  step: int | None = None
  model: str | None = None
  attn: str | None = None
  scale: Sequence[str] = ()
  normalization: str | None = None
  benchmarks: Sequence[str] = ()
  tile: int | None = None
  pictures: int = 5
  output: str = "report.html"


OPTIONS = tuple(field.name for field in dataclasses.fields(Options))


def run(options: Options) -> None:
  """Compares networks and writes the page.

  Raises:
    UserError: an option, a file or a folder is at fault.
  """
  if options.pictures < 1:
    raise UserError(f"--pictures must be at least 1; got {options.pictures}")
  output = Path(options.output)
  if output.is_dir():
    raise UserError(f"{output} is a folder; give a file, {output}/report.html")
  given = evaluation.Options(
    **{
      name: getattr(options, name)
      for name in OPTIONS
      if name in evaluation.OPTIONS and name != "output"
    }
  )
  sources = [*options.run_dir, *options.weights]
  evaluation.check(given, sources)
  networks = list(evaluation.load_networks(given, sources))
  scales = sorted({network.scale for network in networks})
  groups = [[n for n in networks if n.scale == scale] for scale in scales]
  if max(map(len, groups)) > _MOST:
    raise UserError(
      f"a page compares at most {_MOST} networks of a scale; got"
      f" {max(map(len, groups))}"
    )
  found = []
  for group in groups:
    upscalers = [
      Upscaler(n.module, n.variables, tile=options.tile) for n in group
    ]
    for benchmark in _benchmarks(given, group):
      comparison = compare.compare(
        group, upscalers, benchmark, options.pictures
      )
      found.append((comparison, upscalers))
      print(
        f"{benchmark.name} ×{group[0].scale}: {len(comparison.names)}"
        f" pictures, {len(comparison.shown)} shown",
        flush=True,
      )
  page = document.page(networks, found)
  write_atomically(output, page)
  print(f"written to {output}, {len(page.encode()) / 1e6:.1f} MB")


def _benchmarks(options: evaluation.Options, group: Sequence[Network]):
  """Those that are named, or the validation pictures of the group's run."""
  if options.benchmarks:
    return [find_benchmark(f, group[0].scale) for f in options.benchmarks]
  runs = [network for network in group if network.config is not None]
  return evaluation.find_benchmarks(options, (runs or group)[0])
