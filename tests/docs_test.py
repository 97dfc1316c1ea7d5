"""The documentation: what it must hold. CI builds it, too."""

import importlib
import inspect
from pathlib import Path
import re

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PUBLIC = (
  *("bamjax", "bamjax.layers", "bamjax.models", "bamjax.inference"),
  *("bamjax.metrics", "bamjax.complexity", "bamjax.exporting"),
  *("bamjax.networks", "bamjax.pretrained", "bamjax.benchmarking"),
)


def resolve(name):
  module, _, attribute = name.rpartition(".")
  return getattr(importlib.import_module(module), attribute)


def public_names(module):
  """`__all__`, or else the functions and classes that a module defines."""
  if hasattr(module, "__all__"):
    return module.__all__
  return [
    name
    for name, value in vars(module).items()
    if not name.startswith("_")
    and (inspect.isfunction(value) or inspect.isclass(value))
    and value.__module__ == module.__name__
  ]


@pytest.fixture(scope="module")
def documented():
  """The objects on the API page, by identity."""
  found = {}
  page = (DOCS / "api.md").read_text()
  for kind, name, below in re.findall(
    r"^\.\. auto(\w+):: (\S+)\n((?:   :.*\n)*)", page, re.MULTILINE
  ):
    if kind != "module":
      found[id(resolve(name))] = name
    elif match := re.search(r":members:(.*)", below):
      module = importlib.import_module(name)
      names = match[1].replace(",", " ").split() or public_names(module)
      found |= {id(getattr(module, n)): f"{name}.{n}" for n in names}
  return found


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_in_the_reference(name, documented):
  module = importlib.import_module(name)
  missing = [
    n for n in public_names(module) if id(getattr(module, n)) not in documented
  ]
  assert not missing
  assert public_names(module)


@pytest.mark.parametrize(
  "page", sorted(DOCS.glob("*.md")), ids=lambda p: p.stem
)
def test_every_page_is_in_the_contents(page):
  index = (DOCS / "index.md").read_text()
  assert page.stem == "index" or re.search(rf"^{page.stem}$", index, re.M)
