"""The training recipes of configs/, by name: `--config=quickstart`."""

from pathlib import Path

import bamjax


def folder() -> Path:
  """The folder of the recipes: the installed package's, or the clone's."""
  package = Path(bamjax.__file__).parent
  installed = package / "configs"
  return installed if installed.is_dir() else package.parent / "configs"


def names() -> list[str]:
  """The names of all recipes."""
  return sorted(path.stem for path in folder().glob("[!_]*.py"))


def find(name: str) -> Path | None:
  """The file of a recipe; None if there is no recipe of that name."""
  return folder() / f"{name}.py" if name in names() else None
