"""--config, a file of `ml_collections`, and --config.FIELD=VALUE."""

import ast
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
from pathlib import Path
import re
import runpy
import sys
from typing import Any

from absl import flags

from bamjax.errors import UserError

# What others call our fields.
_ALSO = {"lr": "learning_rate"}

# The path of the default configuration, once the flag is defined.
_defaults: list[str] = []


def define(default: str, help_text: str) -> flags.FlagHolder:
  """Defines the flag; its `.value` is the resolved `ConfigDict`.

  Args:
    default: path of the default configuration file.
    help_text: what --help says of the flag.

  Raises:
    UserError: the file that is given cannot be read, or has no field that a
      flag is to set.
  """
  # Imported here: the other scripts do without it.
  from ml_collections import config_flags

  _defaults[:] = [default]
  _check_file(_to_front(sys.argv))
  with fields_told():
    holder = config_flags.DEFINE_config_file("config", default, help_text)
  # So that --help lists it among the script's own.
  flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS["config"])
  return holder


@contextlib.contextmanager
def fields_told() -> Iterator[None]:
  """Raises UserError where a flag sets a field that there is not.

  `ml_collections` looks fields up where the flag is defined or parsed, and lets
  pass what that raises.
  """
  try:
    yield
  except (AttributeError, KeyError) as error:
    # An AttributeError around a KeyError around "'FIELD'\nDid you mean …?".
    cause = error if isinstance(error, KeyError) else error.args[0]
    if not isinstance(cause, KeyError):
      raise  # a fault in the file
    told = str(cause.args[0])
    way = hint(told.partition("\n")[0].strip("'\""))
    if any(re.match(r"--?config\.model_options\.", a) for a in sys.argv):
      way = "; a network's are given by --options=FIELD=VALUE"
    raise UserError(f"the configuration has no field {told}{way}") from None


def _to_front(argv: list[str]) -> str | None:
  """Puts --config=FILE before its fields' flags, which are to come later.

  Returns:
    FILE; None where it is not given.
  """
  for i, argument in enumerate(argv[1:], 1):
    name, found, value = argument.partition("=")
    if name in ("-config", "--config"):
      end = i + (1 if found else 2)
      given = value if found else "".join(argv[i + 1 : end])
      argv[1:end] = [f"--config={given}", *argv[1:i]]
      return given
  return None


def _check_file(given: str | None) -> None:
  """Raises UserError unless a file can be one of a configuration.

  `ml_collections` lets pass whatever reading it raises.
  """
  if given is None:
    return
  path = given.partition(":")[0]  # then comes what get_config takes
  try:
    source = Path(path).read_bytes()
    ast.parse(source)
  except (OSError, SyntaxError, ValueError) as error:
    reason = getattr(error, "strerror", None) or f"it is no Python ({error})"
    raise UserError(f"--config could not be read: {path}: {reason}") from None
  if b"get_config" not in source:
    raise UserError(
      f"--config could not be read: {path} has no function get_config()"
    )


def check() -> None:
  """Raises UserError if the file of --config gave no configuration."""
  if "config" not in flags.FLAGS:
    return
  try:
    # ml_collections puts a stand-in, which raises at every access.
    if hasattr(flags.FLAGS["config"].value, "to_dict"):
      return
    reason = "get_config() returns no ConfigDict"
  except OSError as error:
    reason = error
    while reason.__cause__ or reason.__context__:
      reason = reason.__cause__ or reason.__context__
  raise UserError(f"--config could not be read: {reason}")


def hint(name: str) -> str:
  """The flag of a configuration's field, for a name that is no flag.

  Args:
    name: of the flag that there is not.

  Returns:
    "; give --config.FIELD=VALUE", or nothing where there is no such field.
  """
  name = _ALSO.get(name, name)
  for path in _defaults:
    config = runpy.run_path(path)["get_config"]()
    for field in _fields(config.to_dict()):
      if field.rpartition(".")[2] == name:
        return f"; give --config.{field}=VALUE"
  return ""


def _fields(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
  for key, value in tree.items():
    if isinstance(value, Mapping):
      yield from _fields(value, f"{prefix}{key}.")
    else:
      yield f"{prefix}{key}"
