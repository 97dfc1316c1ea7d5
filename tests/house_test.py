"""Rules for the package: imports, module names, annotations, loggers."""

import ast
import logging
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bamjax"

# A module may import modules of its own package and of those above it here.
ORDER = (
  "errors",
  "forks",
  "files",
  "stopping",
  "memory",
  "terminal",
  "progress",
  "pixels",
  "metrics",
  "layers",
  "models",
  "complexity",
  "inference",
  "pretrained",
  "weights",
  "images",
  "data",
  "runs",
  "networks",
  "upscaling",
  "evaluation",
  "exporting",
  "training",
  "report",
  "benchmarking",
  "ablation",
  "commands",
)
MODULES = sorted(
  path
  for path in PACKAGE.rglob("*.py")
  if path.relative_to(PACKAGE).parts[0] not in ("__init__.py", "__main__.py")
)


def _name(path):
  return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def _imported_parts(path):
  """Yields the parts of bamjax that a module imports anywhere, with lines."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.ImportFrom):
      assert not node.level, "imports are absolute"
      names = [f"{node.module}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    else:
      continue
    for name in names:
      package, _, rest = name.partition(".")
      if package == "bamjax":
        yield rest.partition(".")[0], node.lineno


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_no_module_imports_upward(path):
  own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
  for part, line in _imported_parts(path):
    # Only commands and pages may use names of the top-level package.
    if part not in ORDER:
      assert own in ("report", "commands"), f"line {line} imports bamjax.{part}"
    else:
      assert ORDER.index(part) <= ORDER.index(own), f"line {line}: {part}"


def test_no_two_modules_have_one_name():
  names = [
    path.stem
    for path in MODULES
    # A command has the name that a user types.
    if path.parent.name != "commands" and path.stem != "__init__"
  ]
  assert not {name for name in names if names.count(name) > 1}


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_public_functions_have_types(path):
  for node in ast.walk(ast.parse(path.read_text())):
    if not isinstance(node, ast.FunctionDef) or (
      node.name.startswith("_") and node.name not in ("__init__", "__call__")
    ):
      continue
    if any(ast.unparse(d).endswith(".setter") for d in node.decorator_list):
      continue
    args = [
      *node.args.posonlyargs,
      *node.args.args,
      *node.args.kwonlyargs,
      *filter(None, (node.args.vararg, node.args.kwarg)),
    ]
    untyped = [
      arg.arg
      for arg in args
      if arg.annotation is None and arg.arg not in ("self", "cls")
    ]
    where = f"{node.name}, line {node.lineno}"
    assert not untyped, f"{where}: {', '.join(untyped)}"
    assert node.returns is not None or node.name == "__init__", where


def _root_logger_uses(tree):
  """Yields the lines that log through the root logger or absl's."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      names = [f"{node.module}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.Call):
      names = []
      called = ast.unparse(node.func)
      level = called.removeprefix("logging.")
      if called.startswith("logging.") and (
        level in ("basicConfig", "log", "warn", "exception")
        or level.upper() in logging.getLevelNamesMapping()
        or (level == "getLogger" and not node.args)
      ):
        yield node.lineno
    else:
      continue
    for name in names:
      if name.startswith(("absl", "logging.")):
        yield node.lineno


# A program decides what is logged and how: bamjax's own are the commands.
@pytest.mark.parametrize(
  "path",
  [path for path in MODULES if path.parent.name != "commands"],
  ids=_name,
)
def test_the_library_logs_through_its_own_loggers(path):
  assert not list(_root_logger_uses(ast.parse(path.read_text())))


def test_uses_of_the_root_logger_are_found():
  source = """
from absl import logging
import absl.logging
from logging import warning
import logging
logging.warning("x")
logging.getLogger().info("x")
logging.getLogger("bamjax").info("x")
"""
  assert list(_root_logger_uses(ast.parse(source))) == [2, 3, 4, 6, 7]


@pytest.mark.parametrize(
  "path",
  [path for path in MODULES if path.parent.name != "commands"],
  ids=_name,
)
def test_the_library_handles_no_signal(path):
  assert "signal.signal(" not in path.read_text()
