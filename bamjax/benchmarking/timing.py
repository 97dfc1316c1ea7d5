"""Interleaved timing, and statistics of the times."""

from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Mapping
from collections.abc import Sequence
import time
from typing import Any
from typing import TypeVar

import numpy as np

from bamjax import progress

Key = TypeVar("Key", bound=Hashable)
# Runs frame i and returns its result when it is ready.
Run = Callable[[int], Any]


def split(total: int, parts: int) -> list[int]:
  """Splits a count into at most `parts` nearly equal parts."""
  parts = min(total, parts)
  return [total // parts + (i < total % parts) for i in range(parts)]


def take_turns(
  runs: Mapping[Key, Run], frames: int, rounds: int, about: str = ""
) -> dict[Key, list[list[float]]]:
  """Times several functions in interleaved rounds.

  Each turn starts with an uncounted frame, because the previous function has
  filled the caches and may have left its threads running.

  Args:
    runs: the functions to time, by name.
    frames: number of counted frames of each.
    rounds: number of turns of each.
    about: what is timed, for the progress bar.

  Returns:
    For each function, a list per round of the seconds of each frame.
  """
  seconds: dict[Key, list[list[float]]] = {key: [] for key in runs}
  parts = progress.each(split(frames, rounds), "round", about=about)
  for i, count in enumerate(parts):
    # Every other round runs backwards, so none always follows the same other.
    for key in list(runs)[:: 1 if i % 2 == 0 else -1]:
      run = runs[key]
      run(0)
      times = []
      for frame in range(count):
        start = time.perf_counter()
        run(frame)
        times.append(time.perf_counter() - start)
      seconds[key].append(times)
  return seconds


def summarize(
  rounds: Sequence[Sequence[float]], images: int = 1
) -> dict[str, Any]:
  """Computes the frame rate of eq. 7, its spread, and quantiles of the times.

  Args:
    rounds: seconds of each call, a list per round.
    images: images per call.

  Returns:
    `frames` (number of calls), `total_s`, `fps` (images / total time),
    `fps_median` and `fps_spread` ((max − min) / median) of the rounds,
    `ms_median` of the rounds' mean times, and `ms_p50` and `ms_p90` of the
    calls.
  """
  times = np.concatenate([np.asarray(times) for times in rounds])
  means = np.array([np.mean(times) for times in rounds])
  rates = images / means
  median = float(np.median(rates))
  return {
    "frames": len(times),
    "total_s": float(times.sum()),
    "fps": images * len(times) / float(times.sum()),
    "fps_median": median,
    "fps_spread": float(np.ptp(rates)) / median,
    "ms_median": 1000 * float(np.median(means)),
    "ms_p50": 1000 * float(np.percentile(times, 50)),
    "ms_p90": 1000 * float(np.percentile(times, 90)),
  }
