"""How a run tells how far it is."""

import datetime
import sys
import time

from tqdm import tqdm


class Progress:
  """A bar with rate and time left on a terminal, plain lines elsewhere."""

  def __init__(self, start: int, steps: int, silent: bool = False):
    """Begins at step `start` of `steps`; `silent` tells nothing."""
    self._steps = steps
    self._silent = silent
    self._since: tuple[int, float] | None = None
    self._step = start
    self._bar = tqdm(
      initial=start,
      total=steps,
      unit="step",
      disable=silent or not sys.stderr.isatty(),
      dynamic_ncols=True,
    )

  def advance(self, steps: int) -> None:
    """Moves the bar."""
    self._bar.update(steps)
    self._step += steps
    if self._since is None:  # not the first, which was compiled before
      self._since = self._step, time.monotonic()

  def tell(self, step: int, text: str, *, rate: bool = False) -> None:
    """Writes a line about a step; off a terminal with `rate` and time left."""
    line = f"step {step}/{self._steps}  {text}"
    if not self._bar.disable:
      self._bar.write(line)
    elif not self._silent:
      print(line + (self._rate(step) if rate else ""), flush=True)

  def _rate(self, step: int) -> str:
    """Since the last line that had it; nothing where no step was timed."""
    (then, start), now = self._since or (step, 0.0), time.monotonic()
    if step <= then:
      return ""
    self._since = step, now
    rate = (step - then) / max(now - start, 1e-9)
    left = datetime.timedelta(seconds=round((self._steps - step) / rate))
    return f"  {rate:.3g} steps/s, {left} left"

  def close(self) -> None:
    """Ends the bar."""
    self._bar.close()
