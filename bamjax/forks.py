"""Says so where JAX would hang: in a process that was forked after it started.

The threads that run its programs exist in the parent alone.
"""

import os

from jax._src import xla_bridge

from bamjax.errors import UserError

_hangs = False


def _after_fork() -> None:
  global _hangs
  # JAX has no public API for this. Its own function takes a lock, which a
  # thread of the parent may have had.
  _hangs = _hangs or bool(xla_bridge._backends)


if hasattr(os, "register_at_fork"):
  os.register_at_fork(after_in_child=_after_fork)


def check() -> None:
  """Raises UserError if programs would hang in this process."""
  if _hangs:
    raise UserError(
      "this process was forked after JAX had started, and would hang: start"
      ' processes with multiprocessing.get_context("spawn")'
    )
