"""How long work learns that it is to stop.

Signals belong to a program. The library handles none by itself: Ctrl-C raises
KeyboardInterrupt, and SIGTERM ends the process. Our commands handle them.
"""

from collections.abc import Callable
import contextlib

# Takes a signal's number; returns whether Ctrl-C ends the process from then on.
Handle = Callable[[int], bool]


def _not_caught(
  handle: Handle, terminate: bool
) -> contextlib.AbstractContextManager[None]:
  del handle, terminate
  return contextlib.nullcontext()


# While the context is open, calls `handle` at Ctrl-C, a closed terminal and, if
# `terminate`, SIGTERM. A command replaces it.
caught: Callable[[Handle, bool], contextlib.AbstractContextManager[None]] = (
  _not_caught
)
