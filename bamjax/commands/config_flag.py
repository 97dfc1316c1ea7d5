"""--config, a recipe or a file that returns one, and --config.FIELD=VALUE.

The training recipes of configs/ have names: `--config=quickstart`.
"""

import ast
import difflib
from pathlib import Path
import re
import runpy
from typing import Any

from absl import flags

import bamjax
from bamjax.commands import list_flags
from bamjax.errors import UserError
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import Recipe

# What other libraries call our fields.
_ALSO = {"lr": "learning_rate", "patch_size": "patch"}

_LACKS = "it has no function get_config()"

# How to change a file of an older version.
_OLD = (
  "it is of an older bamjax: return dataclasses.replace(Recipe(), steps=…)"
  " instead of a ConfigDict (from bamjax.runs.recipe import Recipe), as"
  " configs/quickstart.py does"
)

# absl's parsers, by the type of a field; bool has two flags of its own.
_PARSERS: dict[type, Any] = {
  int: list_flags.Integer,
  float: flags.FloatParser,
  str: flags.ArgumentParser,
}


def define(name: str, help_text: str, values: flags.FlagValues) -> None:
  """Defines the flag, whose value `resolve` makes a `Recipe`, and its fields'.

  Args:
    name: the flag's name, "config".
    help_text: its description.
    values: where they are defined.
  """
  flags.DEFINE_string(name, None, help_text, flag_values=values)
  for field, default in recipe_lib.flatten(Recipe()).items():
    if isinstance(default, bool):  # also --noconfig.FIELD
      flags.DEFINE_bool(f"{name}.{field}", None, "", flag_values=values)
    else:
      parser = _PARSERS[type(default)]()
      flags.DEFINE(parser, f"{name}.{field}", None, "", values)


def resolve(values: flags.FlagValues) -> None:
  """Makes the value of --config the recipe that the flags describe.

  Raises:
    UserError: the file can't be read, or returns no recipe.
  """
  if "config" not in values:
    return
  given = values["config"].value
  recipe = _read(given) if given is not None else Recipe()
  fields = {
    name: values[f"config.{name}"].value
    for name in recipe_lib.flatten(Recipe())
  }
  values["config"].value = recipe_lib.changed(
    recipe, {name: v for name, v in fields.items() if v is not None}
  )


def _read(given: str) -> Recipe:
  """Returns the recipe of a file or a name.

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
  try:
    get = runpy.run_path(str(path)).get("get_config")
    found = get and get(*([argument] if colon else []))
    reason = "get_config() returns no Recipe" if get else _LACKS
  except Exception as error:
    found, reason = None, f"{type(error).__name__}: {error}"
  if isinstance(found, Recipe):
    recipe_lib.check_types(found)
    return found
  if re.search(rb"ml_collections|\bdefaults\b", source):
    reason = _OLD
  raise UserError(f"--config could not be read: {name}: {reason}")


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


def hint(name: str) -> str:
  """Which flag sets a recipe's field, for an unknown flag's name.

  Args:
    name: the unknown flag's or field's, perhaps with a group's.

  Returns:
    "; use --config.FIELD=VALUE", or "" if there is no such field.
  """
  if name.startswith("model_options."):
    return "; use --options=FIELD=VALUE for a backbone's hyper-parameters"
  if name.startswith("data.degradation_options."):
    return "; use --degradation_options=FIELD=VALUE"
  name = _ALSO.get(name, name)
  fields = list(recipe_lib.flatten(Recipe()))
  for field in fields:
    if name in (field, field.rpartition(".")[2]):
      return f"; use --config.{field}=VALUE"
  close = difflib.get_close_matches(name, fields, n=1)
  return f"; did you mean --config.{close[0]}?" if close else ""
