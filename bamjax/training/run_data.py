"""data.json: which images a run trains and validates on, to detect changes."""

import contextlib
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from bamjax.data.crops import CropStore
from bamjax.data.sources import Source
from bamjax.errors import UserError
from bamjax.files import write_atomically
from bamjax.runs import experiment
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import Recipe
from bamjax.training.validation import Validation

_logger = logging.getLogger(__name__)


def check_validation(path: Path, validation: Validation) -> None:
  """Checks that a resumed run validates on the same images as before.

  Otherwise scores of checkpoints could not be compared to choose the best.

  Args:
    path: the folder of a run with checkpoints.
    validation: the images that it would validate on now.

  Raises:
    UserError: the images differ, or data.json is missing or damaged.
  """
  if not isinstance(_read(path).get("validation"), dict):
    raise UserError(
      f"{path / recipe_lib.DATA}, which records the run's images, is missing or"
      " damaged: restore it from a backup, or start a new run from its weights"
      f" with --init_from={path} and another --run_dir"
    )
  counts = _changed(path, validation)
  if counts:
    raise UserError(
      f"the validation images are not those that {path} started with"
      f" ({counts}): use those, or start a new run from its weights with"
      f" --init_from={path} and another --run_dir"
    )


def warn_of_other_images(path: Path, config: Recipe, source: Source) -> None:
  """Warns if a source's validation images are not those of a run.

  Args:
    path: the run's folder.
    config: its configuration.
    source: the images.
  """
  limit = config.data.max_val_images
  with contextlib.suppress(UserError):  # reported when they are scored
    validation = Validation(
      source.val,
      config.scale,
      limit,
      logging.DEBUG,
      experiment.make_degrader(config),
    )
    counts = _changed(path, validation)
    if counts:
      _logger.warning(
        "the validation images are not those that %s was trained with (%s):"
        " scores are not comparable",
        path,
        counts,
      )


def note(
  path: Path,
  store: CropStore,
  validation: Validation,
  *,
  resumed: bool = False,
  same_images: bool = False,
) -> None:
  """Writes data.json.

  Warns if the training images have changed since the run started, and if
  validation images are also training images.

  Args:
    path: the run's folder.
    store: the crops to train on.
    validation: the images to validate on.
    resumed: whether the run has been trained on the images that data.json
      names; if they have changed, it keeps their hashes as `earlier`.
    same_images: whether to stop if a resumed run's training images have
      changed.

  Raises:
    UserError: they have changed, and `same_images` is set.
  """
  decoded = store.decoded
  now = {
    "images": len(np.unique(store.places[:, 0])),
    "crops": len(store.places),
    "sha256": store.fingerprint(),
    "content": hashlib.sha256("\n".join(decoded.digests).encode()).hexdigest(),
    "validation": _validation(validation),
  }
  then = _read(path)
  hashes = "sha256", "content"
  changed = any(then.get(k, now[k]) != now[k] for k in hashes)
  if changed and resumed and same_images:
    raise UserError(
      f"{path}: the training images are not those that it started with"
      f" ({then.get('images')} images then, {now['images']} now, or other"
      " content): use those, or remove the folder to start again"
    )
  earlier = then.get("earlier", []) if resumed else []
  if changed and resumed:
    earlier = [*earlier, {k: then[k] for k in hashes if k in then}]
  if earlier:
    now["earlier"] = earlier
  if changed:
    _logger.warning(
      "the training images have changed since the run started (%s images then,"
      " %d now, or other content): continuing with the new ones; the result"
      " will differ from an uninterrupted run",
      then.get("images"),
      now["images"],
    )
  trained = set(decoded.digests)
  pairs = zip(validation.digests, validation.names, strict=True)
  both = [name for digest, name in pairs if digest in trained]
  if both:
    _logger.warning(
      "%d of the %d validation images are also training images (%s): scores do"
      " not measure quality on unseen images",
      len(both),
      len(validation.names),
      abbreviate(both),
    )
  write_atomically(path / recipe_lib.DATA, json.dumps(now, indent=2) + "\n")


def abbreviate(names: list[str], most: int = 5) -> str:
  """Returns the first few names and the number of the others."""
  more = len(names) - most
  return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _changed(path: Path, validation: Validation) -> str:
  """How validation images differ from those in data.json, "" if they don't."""
  then, now = _read(path).get("validation"), _validation(validation)
  if not isinstance(then, dict) or then == now:
    return ""
  count = then.get("images")
  if count == now["images"]:
    return f"{count} with other names or content"
  return f"{count} then, {now['images']} now"


def _validation(validation: Validation) -> dict[str, Any]:
  return {
    "images": len(validation.names),
    "sha256": validation.fingerprint(),
  }


def _renamed(found: dict[str, Any]) -> dict[str, Any]:
  """Renames the fields of an older version's data.json."""
  if "pictures" in found:
    found["images"] = found.pop("pictures")
  return found


def _read(path: Path) -> dict[str, Any]:
  """The content of data.json, {} if it is missing or damaged."""
  with contextlib.suppress(OSError, ValueError, RecursionError):
    text = (path / recipe_lib.DATA).read_text()
    found = json.loads(text, object_hook=_renamed)
    if isinstance(found, dict):
      return found
  return {}
