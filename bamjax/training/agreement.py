"""Checks that all processes train one network on the same images."""

from collections.abc import Mapping
import hashlib
import json
from pathlib import Path
from typing import Any

import jax

from bamjax.data.crops import CropStore
from bamjax.data.sources import Source
from bamjax.errors import UserError
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import Recipe
from bamjax.training import distributed


def check_config(run_dir: Path, config: Recipe) -> None:
  """Checks that all processes were started alike.

  Folders of images may have other paths on each host; `check_names` and
  `check_crops` compare what is in them. So may the teacher, whose SHA-256 is a
  field.

  Args:
    run_dir: the run's folder.
    config: the run's configuration, resolved.

  Raises:
    UserError: they were not, on all processes.
  """
  fields = recipe_lib.flatten(config)
  for name in recipe_lib.PLACES:
    fields.pop(name, None)
  _check(
    {
      "run_dir": str(run_dir.absolute()),
      **fields,
      "JAX": jax.__version__,
    }
  )


def check_names(source: Source, config: Recipe) -> None:
  """Checks that all processes found images of the same names.

  Raises:
    UserError: they did not, on all processes.
  """
  _check(
    {
      name: _described([image.name for image in images])
      for name, images in (
        ("training images", source.train),
        ("validation images", source.val),
      )
    },
    config,
  )


def check_crops(store: CropStore, config: Recipe) -> None:
  """Checks that all processes train on the same pixels.

  Raises:
    UserError: they do not, on all processes.
  """
  lines = [store.fingerprint(), *store.decoded.digests]
  _check({"training images": _described(lines, len(lines) - 1)}, config)


def _described(lines: list[str], count: int | None = None) -> str:
  found = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
  return f"{len(lines) if count is None else count} (fingerprint {found})"


def _check(
  fields: Mapping[str, Any],
  config: Recipe | None = None,
) -> None:
  """Raises UserError on all processes if their fields differ.

  Args:
    fields: what must be equal.
    config: explains a difference by the folders that are not.
  """
  flat = recipe_lib.flatten(config) if config else {}
  folders = {name: flat.get(name) for name in recipe_lib.FOLDERS}
  texts = distributed.exchange(json.dumps([fields, folders], default=repr))
  first, *others = map(json.loads, texts)
  for number, other in enumerate(others, 1):
    if other[0] != first[0]:
      lines = [
        f"{name} is {_short(there.get(name))} on process {number},"
        f" {_short(here.get(name))} on process 0"
        for here, there in zip(first, other, strict=True)
        for name in sorted(here.keys() | there.keys())
        if here.get(name) != there.get(name)
      ]
      raise UserError(
        f"the processes do not train the same run: {'; '.join(lines)}. Start"
        " all of them with the same flags and images"
      )


def _short(value: Any) -> str:
  return f"{json.dumps(value):.80}"
