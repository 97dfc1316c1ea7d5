"""Errors that the user can fix, and warnings that are printed once."""

import functools
import importlib.util
import logging

_logger = logging.getLogger(__name__)

# Distributions whose name is not that of the module.
_DISTRIBUTIONS = {
  "orbax.checkpoint": "orbax-checkpoint",
  "skimage": "scikit-image",
  "tensorflow_datasets": "tensorflow-datasets",
}


class UserError(ValueError):
  """A mistake that the user can fix; its message is one line."""


@functools.cache
def warn_once(message: str) -> None:
  """Logs a warning, unless the same message was logged before."""
  _logger.warning("%s", message)


def require(purpose: str, *modules: str) -> None:
  """Checks that the optional packages of a feature are installed.

  Nothing is imported but the parents of dotted names.

  Args:
    purpose: what needs the packages, e.g. "training"; begins the message.
    *modules: names as they are imported, e.g. "orbax.checkpoint".

  Raises:
    UserError: at least one is missing; the message lists all that are.
  """
  missing = [
    _DISTRIBUTIONS.get(name, name) for name in modules if not _is_found(name)
  ]
  if missing:
    raise UserError(
      f"{purpose} needs what is not installed: pip install {' '.join(missing)}"
    )


def _is_found(module: str) -> bool:
  try:
    return importlib.util.find_spec(module) is not None
  except ModuleNotFoundError:  # its parent is missing
    return False
