"""Timing in turns, and what is told of the times."""

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
# Runs the frame of a number, and returns when its result is there.
Run = Callable[[int], Any]


def split(total: int, parts: int) -> list[int]:
  """Splits a count into at most `parts` nearly equal ones."""
  parts = min(total, parts)
  return [total // parts + (i < total % parts) for i in range(parts)]


def take_turns(
  runs: Mapping[Key, Run], frames: int, rounds: int, about: str = ""
) -> dict[Key, list[list[float]]]:
  """Times all of `runs` in interleaved rounds.

  Each turn begins with a frame that is not counted: what ran before it, perhaps
  on another library's threads, has left the caches and the cores to others.

  Args:
    runs: what is timed, by name.
    frames: frames counted for each.
    rounds: turns of each.
    about: what is timed, for the lines that say how far it is.

  Returns:
    Seconds of each frame, a list a round.
  """
  seconds = {key: [] for key in runs}
  parts = progress.each(split(frames, rounds), "round", about=about)
  for i, count in enumerate(parts):
    # Every other round backwards: none always runs right after another.
    for key in runs if i % 2 == 0 else reversed(runs):
      run = runs[key]
      run(0)
      times = []
      for frame in range(count):
        start = time.perf_counter()
        run(frame)
        times.append(time.perf_counter() - start)
      seconds[key].append(times)
  return seconds


def summarize(rounds: Sequence[Sequence[float]], images: int = 1) -> dict:
  """The frame rate of eq. 7, its spread, and the distribution of the times.

  Args:
    rounds: seconds of each call, a list a round.
    images: images of a call.

  Returns:
    `frames` (calls), `total_s`, `fps` (images / total time), `fps_median` and
    `fps_spread` over the rounds ((max − min) / median), `ms_median` of the
    rounds' means, and `ms_p50` and `ms_p90` of the calls.
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
