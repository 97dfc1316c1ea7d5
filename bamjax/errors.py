"""Errors that a user can mend, and warnings that are told once."""

import functools
import logging


class UserError(ValueError):
  """A mistake of the user's, told in one clear line."""


@functools.cache
def warn_once(message: str) -> None:
  """Warns, unless the same was said before: files are read more than once."""
  logging.warning("%s", message)
