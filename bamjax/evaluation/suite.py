"""Evaluations of several networks on several benchmarks, and their files."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import functools
import logging
from pathlib import Path
import re
from typing import Any
from typing import TypeVar

import numpy as np
from PIL import Image

from bamjax import pretrained
from bamjax.data.sr_files import find_sr_files
from bamjax.data.test_sets import ImageSet
from bamjax.errors import UserError
from bamjax.evaluation import comparison
from bamjax.evaluation import result_files
from bamjax.evaluation import results
from bamjax.evaluation import scoring
from bamjax.evaluation import sr_images
from bamjax.evaluation.protocols import Protocol
from bamjax.evaluation.tables import Table
from bamjax.files import refuse_overwriting
from bamjax.files import replacing
from bamjax.files import to_json
from bamjax.files import write_atomically
from bamjax.inference import Upscaler
from bamjax.networks import Network

_logger = logging.getLogger(__name__)

_T = TypeVar("_T")


class Tolerant:
  """Skips what fails among others, with a warning.

  Attributes:
    skipped: how many calls failed.
  """

  def __init__(self, alone: bool):
    """Makes one; if there is only one thing to do, its failure is raised."""
    self._alone = alone
    self.skipped = 0

  def attempt(
    self,
    name: str,
    call: Callable[[], _T],
    kind: type[UserError] | tuple[()] = UserError,
  ) -> _T | None:
    """Returns what a call returns; None, after a warning, if it fails.

    Args:
      name: what is skipped, for the warning.
      call: what to do.
      kind: the errors to tolerate; () raises all of them.
    """
    try:
      return call()
    except kind as error:
      if self._alone:
        raise
      _logger.warning("left out: %s: %s", name, error)
      self.skipped += 1
      return None


@dataclasses.dataclass(frozen=True)
class Suite:
  """How networks are evaluated, and where the results go.

  Attributes:
    output: folder of results.json, results.csv and results.md.
    protocols: how images are degraded and scored.
    self_ensemble: average over eight symmetries.
    tile: side of tiles in LR pixels; see `Upscaler`.
    save_images: write the super-resolved images below `output`.
  """

  output: Path
  protocols: Sequence[Protocol]
  self_ensemble: bool = False
  tile: int | None = None
  save_images: bool = False

  def evaluate(
    self, network: Network, benchmark: ImageSet, tolerant: Tolerant
  ) -> list[results.Row]:
    """Evaluates a network on a benchmark and writes the results.

    Returns:
      A row for each protocol; none if no image can be used and `tolerant`
      skips the benchmark.

    Raises:
      UserError: the results can't be written, or no image can be used.
    """
    place: dict[str, Any] = {
      "path": str(pretrained.find(network.source).resolve()),
      "tile": self.tile,
      "folder": benchmark.folder,
      "degradation": benchmark.degrader and benchmark.degrader.name,
      "self_ensemble": self.self_ensemble,
    }
    with self._saved_in(network, benchmark, place) as saved:
      place["saved"] = saved
      upscaler = Upscaler(
        network.module,
        network.variables,
        self_ensemble=self.self_ensemble,
        tile=self.tile,
        shared=True,
      )
      scores = tolerant.attempt(
        benchmark.name,
        lambda: scoring.evaluate(
          upscaler,
          benchmark.images,
          network.scale,
          self.protocols,
          self._saver(saved, benchmark),
          benchmark.degrader,
        ),
        # If a file can't be written, neither can those of other benchmarks.
        kind=scoring.NothingScored,
      )
      if scores is None:
        return []
      rows = [
        results.make_row(network, benchmark.name, p, scores[p.name], **place)
        for p in self.protocols
      ]
      # After each benchmark: an interrupted evaluation keeps what it measured.
      result_files.write(self.output, rows)
    return rows

  def evaluate_sr(
    self, source: str, test_set: str, scale: int | None, tolerant: Tolerant
  ) -> list[results.Row]:
    """Scores a folder of SR images on a test set and writes the results.

    Args:
      source: the folder of SR images.
      test_set: the folder of the test set.
      scale: upscaling factor; inferred if None.
      tolerant: skips the test set if no image can be used.

    Returns:
      As `evaluate`.

    Raises:
      UserError: the results can't be written, no file matches an HR image, the
        scale can't be inferred, or no image can be used.
    """
    benchmark, sr_files = find_sr_files(source, test_set, scale)
    scores = tolerant.attempt(
      benchmark.name,
      lambda: sr_images.evaluate(sr_files, benchmark, self.protocols),
      kind=scoring.NothingScored,
    )
    if scores is None:
      return []
    rows = [
      results.make_sr_row(sr_files, benchmark, p, scores[p.name])
      for p in self.protocols
    ]
    result_files.write(self.output, rows)
    return rows

  @contextlib.contextmanager
  def _saved_in(
    self, network: Network, benchmark: ImageSet, place: dict[str, Any]
  ) -> Iterator[str | None]:
    """The folder of the super-resolved images, below the output."""
    if not self.save_images:
      yield None
      return
    plus = "-plus" if self.self_ensemble else ""
    name = f"{network.model}-{network.attn}-x{network.scale}{plus}"
    if benchmark.degrader:
      name += f"-{re.sub(r'[^a-z0-9.]+', '-', benchmark.degrader.name)}"
    described = results.describe(network, benchmark.name, **place)
    name = f"images/{benchmark.name}/{name}"
    with result_files.reserved(self.output, described, name) as folder:
      yield folder

  def _saver(
    self, folder: str | None, benchmark: ImageSet
  ) -> Callable[[Protocol, str, np.ndarray], None] | None:
    """Writes images to `folder`, in a folder for each degradation."""
    if folder is None:
      return None
    read = [
      path
      for image in benchmark.images
      for path in (getattr(image, "hr", None), getattr(image, "lr", None))
      if path
    ]

    def save(protocol: Protocol, image: str, sr: np.ndarray) -> None:
      degradation = protocol.degradation.name
      path = self.output / folder / degradation / f"{image}.png"
      refuse_overwriting(path, read)
      with replacing(path) as temporary:
        Image.fromarray(sr).save(temporary)

    return save


def compare_pairs(
  rows: Sequence[results.Row],
) -> tuple[list[dict[str, Any]], int]:
  """Compares the rows of two networks, by scale, benchmark and protocol.

  Args:
    rows: of both networks.

  Returns:
    What `comparison.compare` returns for each pair, and the number of pairs
    that were skipped with a warning.

  Raises:
    UserError: there is no pair, or the only one can't be compared.
  """
  groups: dict[tuple[Any, ...], list[results.Row]] = {}
  for row in rows:
    names = "scale", "folder", "benchmark", "degradation", "protocol"
    key = tuple(row.get(name) for name in names)
    groups.setdefault(key, []).append(row)
  pairs = [group for group in groups.values() if len(group) == 2]
  for (scale, folder, benchmark, *_), group in groups.items():
    if len(group) != 2:
      _logger.warning(
        "×%d on %s: only one of the two networks has scores, not compared",
        scale,
        folder or benchmark,
      )
  if not pairs:
    raise UserError(
      "the two networks have no scale and images in common: they are of"
      " different scales, or were validated on different images; use"
      " --benchmarks"
    )
  tolerant = Tolerant(alone=len(pairs) == 1)
  compared = [
    tolerant.attempt(
      f"comparison on {a['benchmark']}",
      functools.partial(comparison.compare, a, b),
    )
    for a, b in pairs
  ]
  return [each for each in compared if each], tolerant.skipped


def write_tables(
  output: Path,
  name: str,
  rows: Sequence[dict[str, Any]],
  tables: Sequence[Table],
) -> None:
  """Writes rows as NAME.json and their tables as NAME.md."""
  write_atomically(output / f"{name}.json", to_json(rows, indent=2) + "\n")
  markdown = "\n".join(table.markdown() for table in tables)
  write_atomically(output / f"{name}.md", markdown)
