"""Errors that the user can fix, and warnings that are printed once."""

import functools
import importlib.util
import logging
from pathlib import Path

_logger = logging.getLogger(__name__)

# What opening a run's folder imports. The extra `train` has them.
RUN_PACKAGES = ("orbax.checkpoint",)


class UserError(ValueError):
  """A mistake that the user can fix; its message is one line."""


@functools.cache
def warn_once(message: str) -> None:
  """Logs a warning, unless the same message was logged before."""
  _logger.warning("%s", message)


def require(purpose: str, *modules: str, extra: str = "") -> None:
  """Checks that the packages of a feature are installed.

  Nothing is imported but the parents of dotted names.

  Args:
    purpose: what needs the packages, e.g. "training"; begins the message.
    *modules: names as they are imported, e.g. "orbax.checkpoint".
    extra: which of bamjax's extras install them, e.g. "train,report".

  Raises:
    UserError: at least one is missing; the message lists all that are, and says
      how to install everything that the feature needs.
  """
  missing = ", ".join(name for name in modules if not _is_found(name))
  if missing:
    package = _package() + (f"[{extra}]" if extra else "")
    raise UserError(f'{purpose} needs {missing}: pip install "{package}"')


def _package() -> str:
  """What pip installs bamjax from: its name, or the folder of this clone."""
  clone = Path(__file__).parents[1]
  return str(clone) if (clone / "pyproject.toml").is_file() else "bamjax"


def _is_found(module: str) -> bool:
  try:
    return importlib.util.find_spec(module) is not None
  except ModuleNotFoundError:  # its parent is missing
    return False
