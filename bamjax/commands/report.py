"""What report.py does: networks × benchmarks, as one page."""

from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
from pathlib import Path

from bamjax import pretrained
from bamjax.commands import evaluate as evaluation
from bamjax.data.test_sets import Benchmark
from bamjax.errors import UserError
from bamjax.files import check_writable
from bamjax.files import refuse_overwriting
from bamjax.files import write_atomically
from bamjax.images.rgb import EXTENSIONS
from bamjax.inference import Upscaler
from bamjax.networks import Network
from bamjax.report import document
from bamjax.report import outputs
from bamjax.report.outputs import Entry

MOST = 6  # networks: there are as many colours

# Files of a run's folder, beside its checkpoints.
_OF_A_RUN = ("config.json", "data.json", "metrics.jsonl", "summary.json")


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
  images: int = 5
  output: str = "report.html"


OPTIONS = tuple(field.name for field in dataclasses.fields(Options))


def run(options: Options) -> int:
  """Compares networks and writes the page.

  Returns:
    The exit status: 0, or 1 if an image was left out.

  Raises:
    UserError: an option, a file or a folder is at fault.
  """
  if options.images < 1:
    raise UserError(f"--images must be at least 1; got {options.images}")
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
  count = len(sources) * max(1, len(options.scale))
  if count > MOST:
    raise UserError(f"a page compares at most {MOST} networks; got {count}")
  refuse_overwriting(output, _read(map(pretrained.find, sources)))
  networks = list(evaluation.load_networks(given, sources))
  entries = [
    Entry(
      n,
      Upscaler(n.module, n.variables, tile=options.tile, shared=True),
      label,
      i,
    )
    for i, (n, label) in enumerate(zip(networks, labels(networks), strict=True))
  ]
  scales = sorted({network.scale for network in networks})
  groups = [[e for e in entries if e.network.scale == s] for s in scales]
  # All of them before the work: a mistake is told at once.
  work = [(g, benchmark) for g in groups for benchmark in _benchmarks(given, g)]
  for _, benchmark in work:
    if benchmark.folder:
      refuse_overwriting(output, _images(benchmark.folder))
  check_writable(output)
  found = []
  for group, benchmark in work:
    comparison = outputs.run_networks(group, benchmark, options.images)
    found.append(comparison)
    print(
      f"{benchmark.name} ×{comparison.scale}: {len(comparison.names)} images,"
      f" {len(comparison.shown)} shown",
      flush=True,
    )
  page = document.page(entries, found)
  write_atomically(output, page)
  print(f"written to {output}, {len(page.encode()) / 1e6:.1f} MB")
  return 1 if any(each.left_out for each in found) else 0


def labels(networks: Sequence[Network]) -> list[str]:
  """A short name of each network, no two alike.

  "imdn cca ×2", with the name of its file or folder where that is shared, and a
  number where that is too.
  """
  titles = [network.title for network in networks]
  shared = Counter(titles)
  names = [
    title if shared[title] == 1 else f"{title} · {Path(network.source).name}"
    for title, network in zip(titles, networks, strict=True)
  ]
  total, seen = Counter(names), Counter()
  for i, name in enumerate(names):
    seen[name] += 1
    if total[name] > 1:
      names[i] = f"{name} #{seen[name]}"
  return names


def _benchmarks(
  options: evaluation.Options, group: Sequence[Entry]
) -> list[Benchmark]:
  """Those that are named, or the validation images of the first run."""
  networks = [entry.network for entry in group]
  runs = [network for network in networks if network.config is not None]
  found = evaluation.find_benchmarks(options, (runs or networks)[0])
  shared = Counter(benchmark.name for benchmark in found)
  return [
    dataclasses.replace(each, name=f"{each.name} ({each.folder})")
    if shared[each.name] > 1
    else each
    for each in found
  ]


def _read(sources: Iterable[Path]) -> Iterator[Path]:
  """Files of weights, and what is read of a run: a page may lie beside it."""
  for source in sources:
    if source.is_dir():
      yield from (source / name for name in ("checkpoints", *_OF_A_RUN))
    else:
      yield source


def _images(folder: str) -> Iterator[Path]:
  """Images of a folder, beside which a page may lie."""
  return (
    path
    for path in Path(folder).rglob("*")
    if path.suffix.lower() in EXTENSIONS
  )
