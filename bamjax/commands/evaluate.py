"""Evaluate networks on images: PSNR and SSIM.

  bamjax evaluate --run_dir=runs/pan-bam-x2-sample
  bamjax evaluate --weights=imdn_x2.safetensors --benchmarks=Set5,Set14
  bamjax evaluate --compare=A.safetensors,runs/B --benchmarks=Set5
  bamjax evaluate --weights=pan-bam-x2 --benchmarks=Set5 --degradation=jpeg:60
  bamjax evaluate --outputs=my_images --benchmarks=Set5 --protocol=matlab,bam
  bamjax evaluate --tables --output=results

Prints a table for each network, benchmark and protocol, with the scores of
bicubic upscaling and those printed in the paper, and adds its rows to
results.json, results.csv and results.md in the output folder. Flags with
several values may be repeated. What can't be used (an image, a benchmark, a
network) is skipped with a warning, and the exit status is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import functools
import itertools
from pathlib import Path

from bamjax import pretrained
from bamjax.commands import selection
from bamjax.commands.options import option
from bamjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Options(selection.NetworksAndImages):
  """What to evaluate."""

  protocol: Sequence[str] = option(
    ("matlab",),
    "how LR is made and scored: matlab (the literature's), bam (the BAM"
    " paper's), ntire (in RGB)",
    value="NAME,NAME",
  )
  compare: Sequence[str] = option(
    (),
    "two runs, files of weights or folders of super-resolved images: their"
    " differences, image by image, with 95% confidence intervals",
    value="A,B",
    paths=True,
  )
  tables: bool = option(
    False, "the paper's Tables 1 and 2, with the scores found in --output"
  )
  self_ensemble: bool = option(
    False, "average over the eight flips and rotations of each image"
  )
  save_images: bool = option(
    False, "write the super-resolved images to --output, too"
  )
  output: str | None = option(
    None,
    "folder of the results; if omitted, RUN-results beside the run if one run"
    " is evaluated, otherwise results",
    value="DIR",
  )

  @property
  def sources(self) -> list[str]:
    """All networks and folders of images, those to compare included."""
    return [*super().sources, *self.outputs, *self.compare]

  @property
  def folder(self) -> Path:
    """The folder of the results."""
    if self.output:
      return Path(self.output)
    others = self.weights or self.outputs
    if len(self.run_dir) != 1 or others:
      return Path("results")
    # Not inside: reading a run changes nothing.
    run = Path(self.run_dir[0])
    if run.name in ("", ".."):
      run = run.resolve()
    return run.with_name(f"{run.name}-results")

  def check(self) -> None:
    """Raises UserError for missing networks or contradicting flags."""
    super().check()
    if self.compare and len(self.compare) != 2:
      raise UserError(
        "--compare needs two runs or files, A,B; got"
        f" {','.join(self.compare)!r}"
      )
    if self.compare and len(self.sources) > 2:
      raise UserError("--compare excludes --run_dir, --weights and --outputs")
    if any(map(self.is_outputs, self.compare)):
      self.check_outputs()
    if (
      self.self_ensemble
      and self.outputs
      and all(map(self.is_outputs, self.sources))
    ):
      raise UserError(
        "--self_ensemble is for networks; --outputs are results already"
      )

  def is_outputs(self, source: str) -> bool:
    """Whether a source is a folder of super-resolved images."""
    from bamjax.data.sr_files import is_sr_folder

    return source in self.outputs or (
      source in self.compare and is_sr_folder(source)
    )

  def check_paths(self) -> None:
    """Raises UserError if a network or a benchmark does not exist."""
    for source in self.sources:
      if source in self.outputs and not Path(source).is_dir():
        raise UserError(f"there is no folder {source}")
      if not (path := pretrained.find(source)).exists():
        raise UserError(f"{path}: no such file, and no folder of a run")
    for folder in self.benchmarks:
      if not Path(folder).is_dir():
        raise UserError(f"there is no folder {folder}")


def run(options: Options) -> int:
  """Evaluates networks, prints tables and writes them to the output folder.

  Returns:
    The exit status: 0, or 1 if an image, a benchmark or a network was skipped.

  Raises:
    UserError: a flag, a file or a folder is invalid.
  """
  # Imported here so that --help is immediate.
  from bamjax.evaluation import comparison
  from bamjax.evaluation import protocols
  from bamjax.evaluation import result_files
  from bamjax.evaluation import results
  from bamjax.evaluation import suite as suite_lib

  output = options.folder
  if options.tables and not options.sources:
    _write_paper_tables(output)
    return 0
  options.check()
  degraders = options.degraders()
  suite = suite_lib.Suite(
    output,
    protocols.find(options.protocol),
    self_ensemble=options.self_ensemble,
    tile=options.tile,
    save_images=options.save_images,
  )
  # Before the work, not after it.
  options.check_paths()
  result_files.check(output)
  scales = options.scales
  if options.compare and scales == [None]:
    scales = [_scale_of_networks(options)]
  parts: tuple[list, ...] = (options.sources, options.folders, scales)
  tolerant = suite_lib.Tolerant(alone=max(map(len, parts)) == 1)
  rows: list[results.Row] = []

  def show(found: list[results.Row]) -> None:
    for row in found:
      print(results.table(row).text(), end="\n\n", flush=True)
    rows.extend(found)

  # Without one of two there is nothing to compare.
  kind = () if options.compare else UserError
  for source, scale in itertools.product(options.sources, scales):
    if options.is_outputs(source):
      for test_set in filter(None, options.folders):
        call = functools.partial(
          suite.evaluate_sr, source, test_set, scale, tolerant
        )
        show(tolerant.attempt(source, call, kind=kind) or [])
      continue
    network = tolerant.attempt(
      source, functools.partial(options.load, source, scale), kind=kind
    )
    if network is None:
      continue
    for folder in options.folders:
      benchmark = tolerant.attempt(
        folder or source,
        functools.partial(selection.find_benchmark, folder, network),
      )
      if not benchmark:
        continue
      for degraded in selection.degraded(benchmark, degraders):
        show(suite.evaluate(network, degraded, tolerant))
  if not rows:
    raise UserError("nothing was scored; see the warnings above")
  skipped = tolerant.skipped
  if options.compare:
    compared, more = suite_lib.compare_pairs(rows)
    skipped += more
    tables = [comparison.table(each) for each in compared]
    for table in tables:
      print(table.text(), end="\n\n")
    suite_lib.write_tables(output, "comparison", compared, tables)
  if options.tables:
    _write_paper_tables(output)
  else:
    print(f"written to {output}")
  return 1 if skipped or any(row["left_out"] for row in rows) else 0


def _scale_of_networks(options: Options) -> int | None:
  """The scale of a network that is compared with images; None if unknown."""
  if any(map(options.is_outputs, options.compare)):
    for source in options.compare:
      if not options.is_outputs(source):
        return options.load(source, None).scale
  return None


def _write_paper_tables(output: Path) -> None:
  from bamjax.evaluation import paper
  from bamjax.evaluation import result_files
  from bamjax.evaluation import suite

  rows = paper.match_results(result_files.read(output))
  tables = paper.tables(rows)
  for table in tables:
    print(table.text(), end="\n\n")
  suite.write_tables(output, "tables", rows, tables)
  print(f"written to {output}")
