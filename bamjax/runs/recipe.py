"""A run's recipe: its fields, their checks, config.json and other files.

The defaults are the paper's recipe. Recipes in configs/ change some of them by
`dataclasses.replace`; on the command line, use `--config.FIELD=VALUE`, e.g.
`--config.optim.learning_rate=2e-4`. Fields that a run of an older version does
not have get their defaults.

"Paper" refers to "Implementation details" in the paper on balanced attention.
"""

import ast
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import json
import math
from pathlib import Path
from typing import Any
from typing import TypeVar

from bamjax.errors import UserError
from bamjax.errors import warn_once
from bamjax.files import write_atomically

_T = TypeVar("_T")

# Files and folders in a run's folder.
CONFIG = "config.json"  # the resolved recipe
DATA = "data.json"  # which images the run trains and validates on
METRICS = "metrics.jsonl"  # one row a logged or validated step
SUMMARY = "summary.json"  # scores of the finished run
CHECKPOINTS = "checkpoints"  # one folder a checkpoint, named by its step
BROKEN = "broken"  # damaged checkpoints, moved out of the way

# Version of a recipe's meaning. 1: the order of an epoch comes from a sort; 2:
# from `bamjax.data.order`.
VERSION = 2

DATA_MODES = ("tfdata", "resident")

# Fields that every version has written.
_ALWAYS = {"model", "attn", "scale"}

# What a field must be, by the type of its default.
_KINDS: dict[type, tuple[str, Any]] = {
  bool: ("True or False", bool),
  int: ("an integer", int),
  float: ("a number", int | float),
  str: ("a string", str),
}

# Folders of images, which may be moved.
FOLDERS = ("data.data_dir", "data.val_dir", "data.manual_dir", "data.cache_dir")

# What may be moved: its content is compared, by other fields and files.
PLACES = (*FOLDERS, "teacher.source")

# Fields that may change when a run resumes, since they do not affect results.
_FREE = (*PLACES, "keep_last")


@dataclasses.dataclass(frozen=True)
class Data:
  """The images; docs/train.md describes the layouts of folders.

  Attributes:
    source: "div2k", "folder" (your images), or "sample" (a few built-in
      photographs).
    data_dir: for "div2k", the folder that contains DIV2K_train_HR/, or where
      TensorFlow Datasets keeps its data ("": its default). For "folder", the HR
      images.
    val_dir: for "folder", HR images to validate on. "": every 20th image of
      data_dir is held out.
    manual_dir: for "div2k", folder of the downloaded zip files.
    patch: side of the LR patches in pixels (paper: 64).
    mode: where patches are cut: on the host by tf.data ("tfdata"), or on the
      device, which then holds all images ("resident"). The samples are the
      same.
    steps_per_dispatch: for "resident", steps per call of the device; 0: 1 on a
      CPU, else 50.
    cache_dir: folder for a file of decoded images, which runs on the same
      images share. "": they stay in memory if they fit in half of the free
      memory, else in a file in the run's folder.
    degradation: what LR is trained on and validated with: "bicubic" (no
      degradation), "noise", "jpeg" or "photo"; see docs/train.md.
    degradation_options: its ranges that differ from the defaults
      (`bamjax.data.degradation.mixtures`).
    lr_only: probability that a patch is LR without HR, cut from an image's own
      pixels at full, half or quarter size, whose target is the teacher's output
      alone.
    permute_rgb: augmentation: whether to permute R, G and B.
    max_val_images: images to validate on during training; 0: all.
  """

  source: str = "div2k"
  data_dir: str = ""
  val_dir: str = ""
  manual_dir: str = ""
  patch: int = 64
  mode: str = "tfdata"
  steps_per_dispatch: int = 0
  cache_dir: str = ""
  degradation: str = "bicubic"
  degradation_options: Mapping[str, Any] = dataclasses.field(
    default_factory=dict
  )
  lr_only: float = 0.0
  permute_rgb: bool = False
  max_val_images: int = 20


@dataclasses.dataclass(frozen=True)
class Teacher:
  """The network of the same scale whose outputs are learned.

  Attributes:
    source: a file of weights, the name of shipped weights, or a run's folder.
      "": none.
    weight: of its output as the target; HR has the rest.
    ensemble: whether its output is the average over the eight flips and
      rotations.
    sha256: filled in by a training: that of its file, or of a run's weights. A
      teacher with another one is refused.
    licence: filled in by a training: the licence in its card.
  """

  source: str = ""
  weight: float = 0.5
  ensemble: bool = False
  sha256: str = ""
  licence: str = ""


@dataclasses.dataclass(frozen=True)
class Optim:
  """Adam on the L1 loss (paper).

  Attributes:
    learning_rate: initial value, or peak after the warm-up.
    schedule: "step" or "cosine", which decays to 0 at the last step.
    decay_every: for "step": steps between two decays.
    decay_factor: for "step": factor of each decay.
    warmup_steps: steps of a linear warm-up from 0.
    clip_norm: maximum global norm of the gradient; 0: no clipping.
    accumulate: parts in which each device processes its share of the batch, to
      save memory.
    ema_decay: decay of a moving average of the weights, e.g. 0.999, which is
      then validated and used for inference; 0: no average. The decay grows to
      it from 0, as (t - 1) / (t + 8) at step t.
  """

  learning_rate: float = 1e-4
  schedule: str = "step"
  decay_every: int = 50_000
  decay_factor: float = 0.5
  warmup_steps: int = 0
  clip_norm: float = 0.0
  accumulate: int = 1
  ema_decay: float = 0.0


@dataclasses.dataclass(frozen=True)
class Recipe:
  """All that determines a run. By default, EDSR with BAM at ×2 on DIV2K.

  Attributes:
    model: backbone, one of `bamjax.list_models()`.
    attn: attention; "native": the backbone's own, "none": none.
    scale: upscaling factor.
    normalization: how input is normalized: as in the paper on BAM ("paper") or
      as in the backbone's official code ("official").
    dtype: of computations, "float32" or "bfloat16"; parameters are float32.
    model_options: the backbone's hyper-parameters that differ from the
      published network, e.g. {"blocks": 8}.
    init_from: initial weights: a file, the name of shipped weights, or a run's
      folder. Every array whose name and shape match is copied. "": random
      weights.
    data: the images.
    teacher: the network whose outputs are learned.
    seed: of the initial weights, samples, flips and turns.
    steps: length of the run.
    batch_size: patches per step, over all devices (paper: 16).
    optim: the optimizer.
    parallel: several devices: "pmap", or "jit" over a sharded batch.
    log_every: steps between two logs.
    eval_every: steps between two validations, which also save a checkpoint.
    checkpoint_every: steps between two checkpoints.
    keep_last: number of newest checkpoints to keep, besides the best one by
      PSNR-Y.
  """

  model: str = "edsr"
  attn: str = "bam"
  scale: int = 2
  normalization: str = "paper"
  dtype: str = "float32"
  model_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  init_from: str = ""
  data: Data = Data()
  teacher: Teacher = Teacher()
  seed: int = 0
  steps: int = 250_000
  batch_size: int = 16
  optim: Optim = Optim()
  parallel: str = "pmap"
  log_every: int = 100
  eval_every: int = 5_000
  checkpoint_every: int = 1_000
  keep_last: int = 2


def changed(recipe: _T, changes: Mapping[str, Any]) -> _T:
  """Returns a copy with other values of some fields.

  Args:
    recipe: a recipe, or a group of its fields.
    changes: values by name, e.g. {"optim.learning_rate": 1e-3, "steps": 9}.
      Those of a group may be a mapping; options are added to the present ones.

  Raises:
    KeyError: there is no such field.
  """
  for full, value in changes.items():
    name, dot, rest = full.partition(".")
    before = getattr(recipe, name, None)
    change = {rest: value} if dot else value
    if isinstance(before, Mapping):
      value = _merged(before, change)
    elif dataclasses.is_dataclass(before) and isinstance(change, Mapping):
      value = changed(before, change)
    elif before is None or dot:
      raise KeyError(full)
    recipe = dataclasses.replace(recipe, **{name: value})  # type: ignore[type-var]
  return recipe


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
  merged = dict(old)
  for name, value in new.items():
    before = merged.get(name)
    if isinstance(before, Mapping) and isinstance(value, Mapping):
      value = _merged(before, value)
    merged[name] = value
  return merged


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


def check_types(recipe: Recipe) -> None:
  """Checks the types of all fields.

  Raises:
    UserError: a field has another type than its default.
  """
  try:
    from_dict(to_dict(recipe))
  except ValueError as error:
    raise UserError(f"the configuration's {error}") from None


def check(recipe: Recipe) -> None:
  """Checks the types and ranges of all fields.

  `bamjax.runs.experiment.check` also checks its network's and its images'
  options.

  Raises:
    UserError: a field has an invalid value.
  """
  check_types(recipe)
  flat = flatten(recipe)
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
    if flat[name] < 1:
      raise UserError(f"{name} must be at least 1; got {flat[name]}")
  for name in (
    "data.steps_per_dispatch",
    "data.max_val_images",
    "optim.clip_norm",
    "optim.warmup_steps",
  ):
    if not 0 <= flat[name] < math.inf:
      raise UserError(f"{name} must be at least 0 and finite; got {flat[name]}")
  for name in ("optim.learning_rate", "optim.decay_factor"):
    if not 0 < flat[name] < math.inf:
      raise UserError(f"{name} must be above 0 and finite; got {flat[name]}")
  # These are int32 on the devices.
  for name in (
    "seed",
    "steps",
    "batch_size",
    "optim.decay_every",
    "optim.warmup_steps",
  ):
    if not -(2**31) <= flat[name] < 2**31:
      raise UserError(
        f"{name} must be a 32-bit integer, from {-(2**31)} to {2**31 - 1};"
        f" got {flat[name]}"
      )
  if not 0 <= recipe.optim.ema_decay < 1:
    raise UserError(
      "optim.ema_decay must be at least 0 and less than 1; got"
      f" {recipe.optim.ema_decay}"
    )
  for name in ("teacher.weight", "data.lr_only"):
    if not 0 <= flat[name] <= 1:
      raise UserError(f"{name} must be from 0 to 1; got {flat[name]}")
  if recipe.data.mode not in DATA_MODES:
    raise UserError(
      f"unknown data mode {recipe.data.mode!r}; choose from"
      f" {', '.join(DATA_MODES)}"
    )
  _check_teacher(recipe)


def _check_teacher(recipe: Recipe) -> None:
  """Raises UserError if something needs a teacher and there is none."""
  if recipe.teacher.source:
    return
  given, default = flatten(recipe), flatten(Recipe())
  for name, flag in (
    ("teacher.weight", "teacher_weight"),
    ("teacher.ensemble", "teacher_ensemble"),
    ("teacher.sha256", "config.teacher.sha256"),
    ("data.lr_only", "lr_only"),
  ):
    if given[name] != default[name]:
      raise UserError(
        f"--{flag} needs a teacher: add --teacher=WEIGHTS, or remove it"
      )


def default_run_dir(recipe: Recipe) -> Path:
  """Returns a run's default folder, runs/MODEL-ATTN-xSCALE-DATA."""
  return Path("runs") / (
    f"{recipe.model}-{recipe.attn}-x{recipe.scale}-{recipe.data.source}"
  )


def to_dict(recipe: Recipe) -> dict[str, Any]:
  """Returns the fields by name, as JSON takes them; groups are dictionaries."""
  return dataclasses.asdict(recipe)


def from_dict(fields: Mapping[str, Any]) -> Recipe:
  """Returns the recipe of `to_dict`'s result; what it lacks is as by default.

  Fields that do not exist are ignored. Lists in options become tuples, which
  JSON does not have.

  Raises:
    ValueError: a field has another type than its default.
  """
  return _like(Recipe(), fields, "")


def _like(default: _T, found: Mapping[str, Any], prefix: str) -> _T:
  values: dict[str, Any] = {}
  for field in dataclasses.fields(default):  # type: ignore[arg-type]
    if field.name not in found:
      continue
    before, given = getattr(default, field.name), found[field.name]
    kind, types = _KINDS.get(type(before), ("a group of fields", Mapping))
    mixed = isinstance(given, bool) and types is not bool  # a bool is an int
    full = f"{prefix}{field.name}"
    if not isinstance(given, types) or mixed:
      raise ValueError(f"{full} is {given!r:.40}, and must be {kind}")
    if dataclasses.is_dataclass(before):
      given = _like(before, given, f"{full}.")
    values[field.name] = _frozen(given)
  return dataclasses.replace(default, **values)  # type: ignore[type-var]


def _frozen(value: Any) -> Any:
  if isinstance(value, Mapping):
    return {name: _frozen(item) for name, item in value.items()}
  return tuple(map(_frozen, value)) if isinstance(value, list) else value


def save(recipe: Recipe, path: Path) -> None:
  """Writes a recipe as JSON, atomically."""
  fields = {"version": VERSION, **to_dict(recipe)}
  write_atomically(path, json.dumps(fields, indent=2) + "\n")


def version(path: Path) -> object:
  """Returns the `VERSION` of the bamjax that saved a recipe.

  Raises:
    UserError: the file is missing or not a valid recipe.
  """
  load(path)
  found = json.loads(path.read_text(encoding="utf-8"))
  return found.get("version", 1)


def load(path: Path) -> Recipe:
  """Reads a recipe that `save` wrote.

  Fields that an older version did not have get their defaults.

  Raises:
    UserError: the file is missing or not a valid recipe.
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
  data = found.get("data")
  if isinstance(data, dict) and "max_val_pictures" in data:  # its older name
    data["max_val_images"] = data.pop("max_val_pictures")
  found.pop("version", None)
  try:
    recipe = from_dict(found)
  except ValueError as error:
    raise UserError(f"{path} cannot be read: {error}") from None
  if unknown := sorted(_flatten(found).keys() - flatten(recipe).keys()):
    warn_once(f"{path}: ignored unknown fields: {', '.join(unknown)}")
  return recipe


def differences(old: Recipe, new: Recipe) -> list[str]:
  """Returns the differences that prevent resuming a run, one line a field.

  Args:
    old: the run's recipe.
    new: the recipe to resume it with.
  """
  then, now = flatten(old), flatten(new)
  return [
    f"{key}: {then.get(key, 'absent')!r} there, {now.get(key, 'absent')!r} now"
    for key in sorted(then.keys() | now.keys())
    if key not in _FREE and then.get(key) != now.get(key)
  ]


def flatten(recipe: Recipe) -> dict[str, Any]:
  """Returns all fields by their full names, such as `data.patch`."""
  return _flatten(to_dict(recipe))


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  flat = {}
  for key, value in tree.items():
    name = f"{prefix}{key}"
    if isinstance(value, Mapping):
      flat.update(_flatten(value, f"{name}."))
    else:
      flat[name] = list(value) if isinstance(value, tuple) else value
  return flat
