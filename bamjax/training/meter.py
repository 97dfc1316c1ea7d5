"""A run's progress: a bar, or lines of text."""

import datetime
import time

from bamjax import progress


class Progress:
  """A bar with rate and remaining time on a terminal, plain lines elsewhere."""

  def __init__(self, start: int, steps: int, silent: bool = False):
    """Starts the bar.

    Args:
      start: steps already done.
      steps: length of the run.
      silent: shows nothing.
    """
    self._steps = steps
    self._silent = silent
    self._since: tuple[int, float] | None = None
    self._step = start
    self._bar = progress.bar(
      initial=start, total=steps, unit="step", silent=silent
    )

  def advance(self, steps: int) -> None:
    """Advances the bar by a number of steps."""
    self._bar.update(steps)
    self._step += steps
    if self._since is None:  # the first call included compilation
      self._since = self._step, time.monotonic()

  def tell(self, step: int, text: str, *, rate: bool = False) -> None:
    """Writes a line about a step.

    Args:
      step: the step.
      text: the line's text.
      rate: appends steps/s and the remaining time if there is no bar.
    """
    line = f"step {step}/{self._steps}  {text}"
    if not self._bar.disable:
      self._bar.write(line)
    elif not self._silent:
      print(line + (self._rate(step) if rate else ""), flush=True)

  def _rate(self, step: int) -> str:
    """The rate since the last line with one; "" if no step was timed."""
    (then, start), now = self._since or (step, 0.0), time.monotonic()
    if step <= then:
      return ""
    self._since = step, now
    rate = (step - then) / max(now - start, 1e-9)
    left = datetime.timedelta(seconds=round((self._steps - step) / rate))
    return f"  {rate:.3g} steps/s, {left} left"

  def close(self) -> None:
    """Closes the bar."""
    self._bar.close()
