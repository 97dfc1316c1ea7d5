"""How a run tells how far it is."""

import sys

from tqdm import tqdm


class Progress:
  """A bar with rate and time left on a terminal, plain lines elsewhere."""

  def __init__(self, start: int, steps: int, silent: bool = False):
    """Begins at step `start` of `steps`; `silent` tells nothing."""
    self._steps = steps
    self._silent = silent
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

  def tell(self, step: int, text: str) -> None:
    """Writes a line about a step."""
    line = f"step {step}/{self._steps}  {text}"
    if not self._bar.disable:
      self._bar.write(line)
    elif not self._silent:
      print(line, flush=True)

  def close(self) -> None:
    """Ends the bar."""
    self._bar.close()
