"""Says so where JAX would hang: in a process that was forked after it started.

The threads that run its programs exist in the parent alone.
"""

import os
import sys

from bamjax.errors import UserError

_hangs = False


def _after_fork() -> None:
  global _hangs
  _hangs = _hangs or _jax_has_started()


def _jax_has_started() -> bool:
  """Whether JAX has threads; a private name of JAX, which has no public one.

  Its own function takes a lock, which a thread of the parent may have had.
  """
  bridge = sys.modules.get("jax._src.xla_bridge")
  return bool(getattr(bridge, "_backends", False))


if hasattr(os, "register_at_fork"):
  os.register_at_fork(after_in_child=_after_fork)


def check() -> None:
  """Raises UserError if programs would hang in this process."""
  if _hangs:
    raise UserError(
      "this process was forked after JAX had started, and would hang: start"
      ' processes with multiprocessing.get_context("spawn")'
    )
