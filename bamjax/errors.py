"""Errors that a user can mend."""


class UserError(ValueError):
  """A mistake of the user's, told in one clear line."""
