"""What a score was computed from: a score of anything else does not count."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from bamjax.data.degradation import degrader
from bamjax.data.test_sets import Benchmark
from bamjax.data.test_sets import find_benchmark
from bamjax.errors import UserError
from bamjax.evaluation.protocols import PROTOCOLS
from bamjax.evaluation.results import Row

# Fields of a row that name a test; the others say what it consisted of.
_NAMES = ("benchmark", "degradation", "protocol")


@dataclasses.dataclass(frozen=True)
class Test:
  """A benchmark with a degradation under a protocol, as they are now.

  Attributes:
    folder: of the images, as the command names it.
    degradation: of their LR, as the command names it.
    basis: fields that a row of its scores has: the names, the `content` of the
      images, and the versions of the protocol and of the degradation.
  """

  folder: str
  degradation: str
  basis: Mapping[str, Any]

  @property
  def label(self) -> str:
    """ "Set14", "Set14 with noise:15"."""
    degradation = self.basis["degradation"]
    return self.basis["benchmark"] + (
      f" with {degradation}" if degradation else ""
    )

  def scored_in(self, rows: Sequence[Row]) -> Row | None:
    """The row of its scores, if there is one."""
    return next((row for row in rows if self._fits(row, self.basis)), None)

  def outdated_in(self, rows: Sequence[Row]) -> bool:
    """Whether all scores by its names are of other images or versions."""
    named = any(self._fits(row, _NAMES) for row in rows)
    return named and self.scored_in(rows) is None

  def _fits(self, row: Row, fields: Iterable[str]) -> bool:
    return all(row.get(name) == self.basis[name] for name in fields)


def find(
  benchmarks: Sequence[str],
  scale: int,
  protocol: str,
  degradations: Sequence[str],
) -> list[Test]:
  """Finds tests, and reads the files of their images.

  Args:
    benchmarks: folders of test images.
    scale: upscaling factor.
    protocol: name of the evaluation protocol.
    degradations: of the test images' LR, as `evaluate` names them.

  Raises:
    UserError: a folder or a file cannot be read, or a name is unknown.
  """
  found = []
  for folder in benchmarks:
    benchmark = find_benchmark(folder, scale)
    hashed = content(benchmark)
    for text in degradations:
      degrade = degrader.parse(text)
      basis = {
        "benchmark": benchmark.name,
        "degradation": degrade and degrade.name,
        "protocol": protocol,
        "protocol_version": PROTOCOLS[protocol].version,
        "content": hashed,
        "degradation_version": degrade and degrader.VERSION,
      }
      found.append(Test(str(folder), text, basis))
  return found


def content(benchmark: Benchmark) -> str:
  """A SHA-256 hash of the names and the files of a test set's images.

  Raises:
    UserError: a file cannot be read.
  """
  lines = []
  for image in benchmark.images:
    lines.append(image.name)
    for path in (image.hr, image.lr):
      lines.append(_hash(path) if path else "-")
  return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _hash(path: Path) -> str:
  try:
    with path.open("rb") as file:
      return hashlib.file_digest(file, "sha256").hexdigest()
  except OSError as error:
    raise UserError(f"{path} cannot be read: {error.strerror}") from None
