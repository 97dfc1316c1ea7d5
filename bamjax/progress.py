"""How work on many things says how far it is."""

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
  """Yields items: with a bar on a terminal, a line now and then elsewhere.

  Both to stderr.

  Args:
    items: what is worked on.
    unit: what one is, "image".
    names: of each, for the bar.
    about: begins the lines.
  """
  terminal = sys.stderr.isatty()
  start = told = time.monotonic()
  bar = tqdm(items, unit=unit, disable=not terminal, leave=False)
  for done, item in enumerate(bar):
    if names:
      bar.set_postfix_str(plain(names[done]))
    now = time.monotonic()
    if not terminal and done and now - told >= SECONDS:
      told = now
      seconds = round((now - start) / done * (len(items) - done))
      print(
        f"{about}{done} of {len(items)} {unit}s,"
        f" {datetime.timedelta(seconds=seconds)} left",
        file=sys.stderr,
        flush=True,
      )
    yield item
