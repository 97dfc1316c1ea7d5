"""A run's configuration: validation, config.json, and what it describes."""

import ast
from collections.abc import Iterable
import json
import math
from pathlib import Path
from typing import Any

from flax import linen as nn
import jax.numpy as jnp
import ml_collections

from bamjax.data import sources
from bamjax.data.degradation import degrader
from bamjax.data.degradation import mixtures
from bamjax.data.degradation import photo
from bamjax.errors import UserError
from bamjax.files import write_atomically
from bamjax.models import registry
from bamjax.runs import defaults

DATA_MODES = ("tfdata", "resident")

# Version of a configuration's meaning. 1: the order of an epoch comes from a
# sort; 2: from `bamjax.data.order`.
VERSION = 2

# Fields that every version has written.
_ALWAYS = {"model", "attn", "scale"}

# What a field must be, by the type of its default.
_KINDS = {
  bool: ("True or False", bool),
  int: ("an integer", int),
  float: ("a number", int | float),
  str: ("a string", str),
  dict: ("a group of fields", dict),
}

# Folders of images, which may be moved.
FOLDERS = ("data.data_dir", "data.val_dir", "data.manual_dir", "data.cache_dir")

# What may be moved: its content is compared, by other fields and files.
PLACES = (*FOLDERS, "teacher.source")

# Fields that may change when a run resumes, since they do not affect results.
_FREE = (*PLACES, "keep_last")


def build_model(config: ml_collections.ConfigDict) -> nn.Module:
  """Creates the network that a configuration describes.

  Raises:
    UserError: a name, the scale, the dtype or a hyper-parameter is unknown.
  """
  if config.dtype not in ("float32", "bfloat16"):
    raise UserError(
      f"unknown dtype {config.dtype!r}; choose from float32, bfloat16"
    )
  # First, since an option must not set another argument of create_model.
  registry.check_options(config.model, config.model_options)
  return registry.create_model(
    config.model,
    config.attn,
    config.scale,
    normalization=config.normalization,
    dtype=jnp.dtype(config.dtype),
    **config.model_options,
  )


def make_source(config: ml_collections.ConfigDict) -> sources.Source:
  """Finds the images that a configuration describes.

  Raises:
    UserError: they are not available.
  """
  data = config.data
  return sources.make_source(
    data.source,
    config.scale,
    data_dir=data.data_dir or None,
    val_dir=data.val_dir or None,
    manual_dir=data.manual_dir or None,
  )


def make_mixture(config: ml_collections.ConfigDict) -> mixtures.Mixture:
  """Makes what the training's LR is degraded by.

  Raises:
    UserError: the degradation or one of its options is invalid, or a patch is
      too small for it.
  """
  data = config.data
  mixture = mixtures.named(data.degradation, data.degradation_options.to_dict())
  if isinstance(mixture, mixtures.Photo):
    side, hr_side = data.patch, config.scale * data.patch
    photo.check_shapes((hr_side, hr_side), (side, side), mixture)
  return mixture


def make_degrader(
  config: ml_collections.ConfigDict,
) -> degrader.Degrader | None:
  """Makes what degrades a run's validation images; None if nothing does.

  Raises:
    UserError: as `make_mixture`.
  """
  name = config.data.degradation
  if config.data.degradation_options:
    name += ", own ranges"
  return degrader.of_mixture(name, make_mixture(config))


def parse_options(texts: Iterable[str]) -> dict[str, Any]:
  """Parses "FIELD=VALUE,FIELD=VALUE" texts, such as a backbone's options.

  Raises:
    UserError: a text has another form, or a value is not a Python literal.
  """
  options: dict[str, Any] = {}
  for text in texts:
    try:
      # Parsed as Python, since a tuple's value contains commas.
      call = ast.parse(f"f({text})", mode="eval").body
      if not isinstance(call, ast.Call) or call.args:
        raise ValueError
      for keyword in call.keywords:
        if keyword.arg is None:
          raise ValueError
        options[keyword.arg] = ast.literal_eval(keyword.value)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
      raise UserError(
        f"cannot read the options {text!r}; use FIELD=VALUE,FIELD=VALUE, e.g."
        " blocks=8,features=64"
      ) from None
  return options


def check_fields(config: ml_collections.ConfigDict) -> None:
  """Checks that all fields exist and have the right types.

  Raises:
    UserError: a field is missing or has another type.
  """
  default = defaults.get_config().to_dict()
  lacks = _flatten(default).keys() - _flatten(config.to_dict()).keys()
  if lacks:
    raise UserError(
      f"the configuration lacks {', '.join(sorted(lacks))}; start from the"
      " result of bamjax.runs.defaults.get_config()"
    )
  try:
    _complete(config.to_dict(), default)
  except ValueError as error:
    raise UserError(f"the configuration's {error}") from None


def check(config: ml_collections.ConfigDict) -> None:
  """Checks the types and ranges of all fields.

  Raises:
    UserError: a field is missing or has an invalid value.
  """
  check_fields(config)
  for name in (
    "steps",
    "batch_size",
    "log_every",
    "eval_every",
    "checkpoint_every",
    "keep_last",
    "data.patch",
    "optim.decay_every",
    "optim.accumulate",
  ):
    if _get(config, name) < 1:
      raise UserError(f"{name} must be at least 1; got {_get(config, name)}")
  for name in (
    "data.steps_per_dispatch",
    "data.max_val_images",
    "optim.clip_norm",
    "optim.warmup_steps",
  ):
    if not 0 <= _get(config, name) < math.inf:
      raise UserError(
        f"{name} must be at least 0 and finite; got {_get(config, name)}"
      )
  for name in ("optim.learning_rate", "optim.decay_factor"):
    if not 0 < _get(config, name) < math.inf:
      raise UserError(
        f"{name} must be above 0 and finite; got {_get(config, name)}"
      )
  # These are int32 on the devices.
  for name in (
    "seed",
    "steps",
    "batch_size",
    "optim.decay_every",
    "optim.warmup_steps",
  ):
    if not -(2**31) <= _get(config, name) < 2**31:
      raise UserError(
        f"{name} must be a 32-bit integer, from {-(2**31)} to {2**31 - 1};"
        f" got {_get(config, name)}"
      )
  if not 0 <= config.optim.ema_decay < 1:
    raise UserError(
      "optim.ema_decay must be at least 0 and less than 1; got"
      f" {config.optim.ema_decay}"
    )
  _check_folders(config.data)
  _check_teacher(config)
  make_mixture(config)
  if config.data.mode not in DATA_MODES:
    raise UserError(
      f"unknown data mode {config.data.mode!r}; choose from"
      f" {', '.join(DATA_MODES)}"
    )


def _check_folders(data: ml_collections.ConfigDict) -> None:
  """Raises UserError if a folder is set that the source does not use."""
  for field, kinds in (
    ("data_dir", ("folder", "div2k")),
    ("val_dir", ("folder",)),
    ("manual_dir", ("div2k",)),
  ):
    known = data.source in sources.KINDS  # make_source reports unknown ones
    if data[field] and known and data.source not in kinds:
      raise UserError(
        f"--{field} is not for --data={data.source}: remove it, or use"
        f" --data={kinds[0]}"
      )


def _check_teacher(config: ml_collections.ConfigDict) -> None:
  """Raises UserError if what depends on the teacher is invalid."""
  for name in ("teacher.weight", "data.lr_only"):
    if not 0 <= _get(config, name) <= 1:
      raise UserError(f"{name} must be from 0 to 1; got {_get(config, name)}")
  if config.teacher.source:
    return
  default = defaults.get_config()
  for name, flag in (
    ("teacher.weight", "teacher_weight"),
    ("teacher.ensemble", "teacher_ensemble"),
    ("teacher.sha256", "config.teacher.sha256"),
    ("data.lr_only", "lr_only"),
  ):
    if _get(config, name) != _get(default, name):
      raise UserError(
        f"--{flag} needs a teacher: add --teacher=WEIGHTS, or remove it"
      )


def default_run_dir(config: ml_collections.ConfigDict) -> Path:
  """Returns a run's default folder, runs/MODEL-ATTN-xSCALE-DATA."""
  return Path("runs") / (
    f"{config.model}-{config.attn}-x{config.scale}-{config.data.source}"
  )


def save(config: ml_collections.ConfigDict, path: Path) -> None:
  """Writes a configuration as JSON, atomically."""
  fields = {"version": VERSION, **config.to_dict()}
  write_atomically(path, json.dumps(fields, indent=2) + "\n")


def version(path: Path) -> int:
  """Returns the `VERSION` of the bamjax that saved a configuration.

  Raises:
    UserError: the file is missing or not a valid configuration.
  """
  load(path)
  return json.loads(path.read_text(encoding="utf-8")).get("version", 1)


def load(path: Path) -> ml_collections.ConfigDict:
  """Reads a configuration that `save` wrote.

  Fields that an older version did not have get their defaults.

  Raises:
    UserError: the file is missing or not a valid configuration.
  """
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
  except FileNotFoundError:
    raise UserError(
      f"{path.parent} is not a run's folder: it has no {path.name}"
    ) from None
  except (OSError, ValueError, RecursionError) as error:
    raise UserError(f"{path} cannot be read: {error}") from None
  lacks = _ALWAYS - (found.keys() if isinstance(found, dict) else set())
  if lacks:
    raise UserError(
      f"{path} is not a run's configuration: it lacks"
      f" {', '.join(sorted(lacks))}"
    )
  found.pop("version", None)
  _rename(found)
  try:
    whole = _complete(found, defaults.get_config().to_dict())
    return ml_collections.ConfigDict(whole)
  except ValueError as error:
    raise UserError(f"{path} cannot be read: {error}") from None


def _rename(found: dict[str, Any]) -> None:
  """Renames the fields of an older version."""
  data = found.get("data")
  if isinstance(data, dict) and "max_val_pictures" in data:
    data["max_val_images"] = data.pop("max_val_pictures")


def _complete(found: Any, default: dict, prefix: str = "") -> dict[str, Any]:
  """Fills missing fields with their defaults, and checks all types.

  Raises:
    ValueError: a field has another type than its default.
  """
  whole = {**default, **found}
  for name, value in default.items():
    given, full = whole[name], f"{prefix}{name}"
    kind, types = _KINDS.get(type(value), ("anything", object))
    mixed = isinstance(given, bool) and types is not bool  # a bool is an int
    if not isinstance(given, types) or mixed:
      raise ValueError(f"{full} is {given!r:.40}, and must be {kind}")
    if isinstance(value, dict):
      whole[name] = _complete(given, value, f"{full}.")
  return whole


def differences(
  old: ml_collections.ConfigDict, new: ml_collections.ConfigDict
) -> list[str]:
  """Returns the differences that prevent resuming a run, one line a field.

  Args:
    old: the run's configuration.
    new: the configuration to resume it with.
  """
  then, now = flatten(old), flatten(new)
  return [
    f"{key}: {then.get(key, 'absent')!r} there, {now.get(key, 'absent')!r} now"
    for key in sorted(then.keys() | now.keys())
    if key not in _FREE and then.get(key) != now.get(key)
  ]


def flatten(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Returns all fields by their full names, such as `data.patch`."""
  return _flatten(config.to_dict())


def _get(config: Any, name: str) -> Any:
  for part in name.split("."):
    config = config[part]
  return config


def _flatten(tree: dict, prefix: str = "") -> dict[str, Any]:
  flat = {}
  for key, value in tree.items():
    name = f"{prefix}{key}"
    if isinstance(value, dict):
      flat.update(_flatten(value, f"{name}."))
    else:
      flat[name] = list(value) if isinstance(value, tuple) else value
  return flat
