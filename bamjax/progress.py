"""Progress of work on many items."""

from collections.abc import Iterator
from collections.abc import Sequence
import datetime
import os
import sys
import time
from typing import Any
from typing import TypeVar

from tqdm import tqdm

from bamjax.terminal import plain

Item = TypeVar("Item")

SECONDS = 30  # between two lines


def shown() -> bool:
  """Whether bars are shown: where stderr is a terminal."""
  return sys.stderr.isatty()


def bar(*, silent: bool = False, **options: Any) -> tqdm:
  """Returns a bar on stderr, of `tqdm`; it shows nothing off a terminal.

  Args:
    silent: shows nothing on a terminal either.
    **options: arguments of `tqdm`.
  """
  shape: dict[str, Any] = {"dynamic_ncols": True}
  try:
    columns = os.get_terminal_size(sys.stderr.fileno()).columns
  except (OSError, ValueError):
    columns = 0
  if not columns:  # as a serial line's, or that of some editors
    shape = {"ncols": 79, "nrows": 24}
  return tqdm(disable=silent or not shown(), **shape, **options)


def each(
  items: Sequence[Item], unit: str, names: Sequence[str] = (), about: str = ""
) -> Iterator[Item]:
  """Yields items, with a progress bar on a terminal, else lines.

  Both go to stderr. A line is printed at most every `SECONDS`.

  Args:
    items: what is worked on.
    unit: what one item is, e.g. "image".
    names: the items' names, for the bar.
    about: what lines begin with.
  """
  start = printed = time.monotonic()
  showing = bar(iterable=items, unit=unit, leave=False)
  for done, item in enumerate(showing):
    if names:
      showing.set_postfix_str(plain(names[done]))
    now = time.monotonic()
    if showing.disable and done and now - printed >= SECONDS:
      printed = now
      seconds = round((now - start) / done * (len(items) - done))
      print(
        f"{about}{done} of {len(items)} {unit}s,"
        f" {datetime.timedelta(seconds=seconds)} left",
        file=sys.stderr,
        flush=True,
      )
    yield item
