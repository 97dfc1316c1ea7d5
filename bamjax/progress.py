"""Progress of work on many items."""

from collections.abc import Iterator
from collections.abc import Sequence
import datetime
import sys
import time
from typing import TypeVar

from tqdm import tqdm

from bamjax.terminal import plain

Item = TypeVar("Item")

SECONDS = 30  # between two lines


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
  terminal = sys.stderr.isatty()
  start = printed = time.monotonic()
  bar = tqdm(items, unit=unit, disable=not terminal, leave=False)
  for done, item in enumerate(bar):
    if names:
      bar.set_postfix_str(plain(names[done]))
    now = time.monotonic()
    if not terminal and done and now - printed >= SECONDS:
      printed = now
      seconds = round((now - start) / done * (len(items) - done))
      print(
        f"{about}{done} of {len(items)} {unit}s,"
        f" {datetime.timedelta(seconds=seconds)} left",
        file=sys.stderr,
        flush=True,
      )
    yield item
