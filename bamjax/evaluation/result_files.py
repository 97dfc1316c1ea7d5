"""The files of results: results.json, results.csv and results.md."""

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import csv
import io
import itertools
import json
from pathlib import Path
from typing import IO

from bamjax.errors import UserError
from bamjax.evaluation.results import key
from bamjax.evaluation.results import LISTS
from bamjax.evaluation.results import restored
from bamjax.evaluation.results import Row
from bamjax.evaluation.results import table
from bamjax.files import check_writable
from bamjax.files import lock
from bamjax.files import open_lock
from bamjax.files import to_json
from bamjax.files import write_atomically

RESULTS = "results.json"
_TABLE, _TABLES = "results.csv", "results.md"


def read(folder: str | Path) -> list[Row]:
  """Reads the rows of a folder's results.json; none if it does not exist.

  Raises:
    UserError: the file cannot be read, or does not contain results.
  """
  path = Path(folder) / RESULTS
  if not path.exists():
    return []
  try:
    rows = [restored(row) for row in json.loads(path.read_text("utf-8"))]
    for row in rows:
      table(row)  # fails if a field is missing
  except (
    OSError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RecursionError,
  ) as error:
    raise UserError(
      f"{path} does not contain results ({error!r}); remove it, or use another"
      " folder"
    ) from None
  return rows


@contextlib.contextmanager
def reserved(folder: Path, new: Row, name: str) -> Iterator[str]:
  """Chooses a folder as `saved_in` does, and keeps other processes out of it.

  Args:
    folder: of results.json.
    new: as for `saved_in`.
    name: as for `saved_in`.

  Yields:
    The name of a folder that no other row uses, and until the block ends, no
    other process.

  Raises:
    UserError: the folder cannot be written, or its results.json is invalid.
  """
  busy: set[str] = set()
  with contextlib.ExitStack() as locks:
    while True:
      chosen = saved_in(read(folder), new, name, busy)
      file = locks.enter_context(_open_lock(folder / chosen, ".lock"))
      free = True
      with contextlib.suppress(OSError):  # a disk without locks
        free = lock(file, wait=False)
      # Unless the process that filled it has just added its rows.
      if free and chosen == saved_in(read(folder), new, name, busy):
        break
      busy.add(chosen.casefold())
    yield chosen


def saved_in(
  rows: Iterable[Row], new: Row, name: str, busy: Collection[str] = ()
) -> str:
  """Chooses a folder for super-resolved images that no other row uses.

  Args:
    rows: rows of results.json.
    new: the fields of `results.describe` of the network and benchmark.
    name: preferred name of the folder.
    busy: names, in lower case, that can't be used either.

  Returns:
    The name, with a number if another network or benchmark uses it.
  """
  owners = {
    row["saved"].casefold(): key(row, "protocol")
    for row in rows
    if row.get("saved")
  }
  own = key(new, "protocol")
  numbered = (f"{name}-{i}" for i in itertools.count(2))
  return next(
    folder
    for folder in itertools.chain([name], numbered)
    if owners.get(folder.casefold(), own) == own
    and folder.casefold() not in busy
  )


def check(folder: str | Path) -> None:
  """Checks that results can be written to a folder, before the work.

  Raises:
    UserError: they can't, or its results.json is invalid.
  """
  read(folder)
  for name in (RESULTS, _TABLE, _TABLES):
    check_writable(Path(folder) / name)


def write(folder: str | Path, rows: list[Row]) -> None:
  """Adds rows to a folder's results.json, results.csv and results.md.

  Rows that were measured again replace the existing ones. Other processes may
  add rows at the same time.

  Raises:
    UserError: the folder cannot be written, or its results.json is invalid.
  """
  with _locked(Path(folder)):
    _write(Path(folder), rows)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
  """Waits until no other process changes the results of a folder."""
  # Not ".lock", which a training holds in its run's folder.
  with _open_lock(folder, ".results.lock") as file:
    with contextlib.suppress(OSError):  # a disk without locks
      lock(file, wait=True)
    yield


def _open_lock(folder: Path, name: str) -> IO[bytes]:
  try:
    folder.mkdir(parents=True, exist_ok=True)
    return open_lock(folder / name)
  except OSError as error:
    raise UserError(
      f"{folder} cannot be written: {error.strerror}; use another folder"
    ) from None


def _write(folder: Path, rows: list[Row]) -> None:
  merged = {key(row): row for row in read(folder)}
  for row in rows:
    # The last measured row comes last.
    before = merged.pop(key(row), {}).get("saved")
    merged[key(row)] = {**row, "saved": row.get("saved") or before}
  rows = list(merged.values())
  # First the one that is read back.
  write_atomically(folder / RESULTS, to_json(rows, indent=2) + "\n")
  write_atomically(folder / _TABLE, to_csv(rows))
  tables = (table(row).markdown() for row in rows)
  write_atomically(folder / _TABLES, "\n".join(tables))


def to_csv(rows: list[Row]) -> str:
  """Formats rows as CSV.

  There is a line for each image, and one for the mean, whose `image` and `kind`
  are "mean". The `kind` of an image is "image", even if its name is "mean".
  """
  lines = []
  for row in rows:
    shared = {k: v for k, v in row.items() if k not in LISTS}
    for image in row["images"]:
      scores = {k: v for k, v in image.items() if k != "name"}
      lines.append(
        {**shared, "image": image["name"], **scores, "kind": "image"}
      )
    lines.append({**shared, "image": "mean", "kind": "mean"})
  names = list(dict.fromkeys(name for line in lines for name in line))
  names.sort(key="kind".__eq__)  # last: a newer column moves no older one
  out = io.StringIO()
  writer = csv.DictWriter(out, names, lineterminator="\n")
  writer.writeheader()
  writer.writerows(lines)
  return out.getvalue()
