"""--config, a file of `ml_collections`, and --config.FIELD=VALUE.

The training recipes of configs/ have names: `--config=quickstart`.
"""

import ast
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
import difflib
from pathlib import Path
import re
from typing import Any

from absl import flags

import bamjax
from bamjax.errors import UserError

# What other libraries call our fields.
_ALSO = {"lr": "learning_rate", "patch_size": "patch"}


def define(
  name: str,
  help_text: str,
  values: flags.FlagValues,
  *,
  default: str | Path,
  arguments: Sequence[str],
) -> None:
  """Defines the flag, whose value is the resolved `ConfigDict`.

  Args:
    name: the flag's name, "config".
    help_text: its description.
    values: where it is defined.
    default: path of the default configuration.
    arguments: the command line, in the order of `in_order`. ml_collections
      reads from it which fields are set.

  Raises:
    UserError: the file can't be read, or a flag sets a field that does not
      exist.
  """
  # Imported here: the other commands do not need it.
  from ml_collections import config_flags

  with clear_errors(arguments):
    config_flags.DEFINE_config_file(
      name,
      str(default),
      help_text,
      flag_values=values,
      sys_argv=[*arguments],
    )


@contextlib.contextmanager
def clear_errors(arguments: Sequence[str]) -> Iterator[None]:
  """Raises UserError if a flag sets a field that does not exist.

  ml_collections looks fields up when the flag is defined or parsed, and raises
  errors of its own kinds.
  """
  try:
    yield
  except (AttributeError, KeyError) as error:
    # An AttributeError around a KeyError around "'FIELD'\nDid you mean …?".
    cause = error if isinstance(error, KeyError) else error.args[0]
    if not isinstance(cause, KeyError):
      raise  # a bug in the file
    message = str(cause.args[0])
    advice = hint(message.partition("\n")[0].strip("'\""))
    if any(re.match(r"--?config\.model_options\.", a) for a in arguments):
      advice = "; use --options=FIELD=VALUE for a backbone's hyper-parameters"
    raise UserError(
      f"the configuration has no field {message}{advice}"
    ) from None


def in_order(arguments: Sequence[str]) -> list[str]:
  """Moves --config=FILE before the flags of its fields, and finds recipes.

  Raises:
    UserError: there is no such file or recipe, or it is not a configuration.
  """
  arguments = list(arguments)
  for i, argument in enumerate(arguments):
    name, equals, given = argument.partition("=")
    if name in ("-config", "--config"):
      end = i + (1 if equals else 2)
      if not equals:
        given = "".join(arguments[i + 1 : end])
      path = _resolve(given)
      return [f"--config={path}", *arguments[:i], *arguments[end:]]
  return arguments


def _resolve(given: str) -> str:
  """The path of a file or a recipe; checks that it can be a configuration.

  ml_collections ignores whatever reading the file raises.

  Args:
    given: a path or a recipe's name; what follows a colon is the argument of
      get_config().
  """
  name, colon, argument = given.partition(":")
  path = find_recipe(name) or Path(name)
  try:
    source = path.read_bytes()
    ast.parse(source)
  except (OSError, SyntaxError, ValueError) as error:
    reason = getattr(error, "strerror", None) or f"it is not Python ({error})"
    if isinstance(error, FileNotFoundError):
      reason += _other_recipes(name)
    raise UserError(f"--config could not be read: {name}: {reason}") from None
  if b"get_config" not in source:
    raise UserError(
      f"--config could not be read: {name} has no function get_config()"
    )
  return f"{path}{colon}{argument}"


def _other_recipes(name: str) -> str:
  names = recipe_names()
  close = difflib.get_close_matches(Path(name).stem, names, n=1)
  advice = f"; did you mean --config={close[0]}?" if close else ";"
  return f"{advice} recipes: {', '.join(names)}"


def recipe_folder() -> Path:
  """The folder of the recipes: the installed package's, or the clone's."""
  package = Path(bamjax.__file__).parent
  installed = package / "configs"
  return installed if installed.is_dir() else package.parent / "configs"


def recipe_names() -> list[str]:
  """The names of all recipes."""
  return sorted(path.stem for path in recipe_folder().glob("[!_]*.py"))


def find_recipe(name: str) -> Path | None:
  """The file of a recipe; None if there is no recipe of that name."""
  return recipe_folder() / f"{name}.py" if name in recipe_names() else None


def check(values: flags.FlagValues) -> None:
  """Raises UserError if the file of --config returned no configuration."""
  if "config" not in values:
    return
  reason: object = "get_config() returns no ConfigDict"
  try:
    # ml_collections puts a stand-in that raises at every access.
    if hasattr(values["config"].value, "to_dict"):
      return
  except OSError as error:
    first: BaseException = error
    while cause := first.__cause__ or first.__context__:
      first = cause
    reason = first
  raise UserError(f"--config could not be read: {reason}")


def hint(name: str) -> str:
  """Which flag sets a configuration's field, for an unknown flag's name.

  Args:
    name: the unknown flag's or field's.

  Returns:
    "; use --config.FIELD=VALUE", or "" if there is no such field.
  """
  from bamjax.runs import defaults

  name = _ALSO.get(name, name)
  for field in _field_names(defaults.get_config().to_dict()):
    if field.rpartition(".")[2] == name:
      return f"; use --config.{field}=VALUE"
  return ""


def _field_names(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
  for key, value in tree.items():
    if isinstance(value, Mapping):
      yield from _field_names(value, f"{prefix}{key}.")
    else:
      yield f"{prefix}{key}"
