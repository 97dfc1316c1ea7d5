"""data.json: what a run trains and validates on, and whether that changed."""

import contextlib
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from bamjax.data.crops import CropStore
from bamjax.data.sources import Source
from bamjax.errors import UserError
from bamjax.files import write_atomically
from bamjax.runs import folder
from bamjax.training.validation import Validation


def check_validation(path: Path, validation: Validation) -> None:
  """Raises UserError where a run has validated on other images.

  The best checkpoint would be one of scores that cannot be compared.

  Args:
    path: of a run that has checkpoints.
    validation: what it is to validate on now.
  """
  if not isinstance(_read(path).get("validation"), dict):
    raise UserError(
      f"{path / folder.DATA}, which records the run's images, is missing or"
      " damaged: restore it from a backup, or start a new run from its weights"
      f" with --init_from={path} and another --run_dir"
    )
  counts = _changed(path, validation)
  if counts:
    raise UserError(
      f"the validation images are not those that {path} began with"
      f" ({counts}): give those, or start another run from its weights, with"
      f" --init_from={path} and another --run_dir"
    )


def warn_of_other_images(
  path: Path, config: ml_collections.ConfigDict, source: Source
) -> None:
  """Warns where a run has validated on other images than a source has now."""
  limit = config.data.max_val_images
  with contextlib.suppress(UserError):  # of images that are told elsewhere
    validation = Validation(source.val, config.scale, limit, logging.DEBUG)
    counts = _changed(path, validation)
    if counts:
      logging.warning(
        "the validation images are not those that %s was trained with (%s):"
        " the scores are those of other images",
        path,
        counts,
      )


def note(path: Path, store: CropStore, validation: Validation) -> None:
  """Notes what a run trains and validates on.

  Warns where it trains on other images than it began with, and where it
  validates on images that it trains on.
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
  if any(then.get(k, now[k]) != now[k] for k in ("sha256", "content")):
    logging.warning(
      "the training images are not those that the run began with (%s"
      " images then, %d now, or others by content): it goes on with these,"
      " and is no longer the run that was not cut off",
      then.get("images"),
      now["images"],
    )
  trained = set(decoded.digests)
  pairs = zip(validation.digests, validation.names, strict=True)
  both = [name for found, name in pairs if found in trained]
  if both:
    logging.warning(
      "%d of the %d validation images are also trained on (%s): the scores"
      " do not tell how the network does on images that it has not seen",
      len(both),
      len(validation.names),
      abbreviate(both),
    )
  write_atomically(path / folder.DATA, json.dumps(now, indent=2) + "\n")


def abbreviate(names: list[str], most: int = 5) -> str:
  """The first few names, and how many more there are."""
  more = len(names) - most
  return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _changed(path: Path, validation: Validation) -> str:
  """How validation images differ from those noted; "" where they do not."""
  then, now = _read(path).get("validation"), _validation(validation)
  if not isinstance(then, dict) or then == now:
    return ""
  found = then.get("images")
  if found == now["images"]:
    return f"{found}, others by name or content"
  return f"{found} then, {now['images']} now"


def _validation(validation: Validation) -> dict[str, Any]:
  return {
    "images": len(validation.names),
    "sha256": validation.fingerprint(),
  }


def _today(found: dict[str, Any]) -> dict[str, Any]:
  """An object of data.json by its names of today."""
  if "pictures" in found:
    found["images"] = found.pop("pictures")
  return found


def _read(path: Path) -> dict[str, Any]:
  """What data.json holds; nothing where it is absent or damaged."""
  with contextlib.suppress(OSError, ValueError, RecursionError):
    found = json.loads((path / folder.DATA).read_text(), object_hook=_today)
    if isinstance(found, dict):
      return found
  return {}
