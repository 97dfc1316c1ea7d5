"""The registry of backbones: one name, one entry, one way to build them."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import functools
import importlib
import pkgutil
from typing import Any

from flax import linen as nn

from bamjax.errors import UserError
from bamjax.layers import Attention
from bamjax.layers import ATTENTIONS
from bamjax.layers import Normalization
from bamjax.layers.fields import check_fields

SCALES = (2, 3, 4, 8)
# Fields of a backbone that are no hyper-parameters of its own.
_ARGUMENTS = {"scale", "attention", "normalization", "dtype", "parent", "name"}


@dataclasses.dataclass(frozen=True)
class Backbone:
  """What the registry knows of a backbone.

  Attributes:
    module: the Linen module's class.
    native: the attention of the backbone's own paper.
    reduction: ratio of the attention's bottleneck.
    normalizations: input conventions by name ("paper", "official", …).
    fixed: constants that the released networks hold as frozen mean-shift convs
      and that the paper's Table 1 counts as parameters.
    options: published hyper-parameters other than the class's defaults.
  """

  module: type[nn.Module]
  native: str
  reduction: int
  normalizations: Mapping[str, Normalization]
  fixed: int
  options: Mapping[str, Any]


_BACKBONES: dict[str, Backbone] = {}


def register(
  name: str,
  *,
  native: str = "none",
  reduction: int = 16,
  official: Normalization | None = None,
  paper: Normalization | None = None,
  fixed: int = 0,
  **options,
) -> Callable[[type[nn.Module]], type[nn.Module]]:
  """Class decorator that enters a backbone, under `name`, in the registry.

  The class has at least the fields `scale`, `attention` (an `Attention`),
  `normalization` (a `Normalization`) and `dtype`. Its fields are checked by
  their types where it is made (`layers.fields`).
  """

  def decorate(module):
    _check_when_made(module)
    paper_form = paper or Normalization()
    forms = {"paper": paper_form, "official": official or paper_form}
    _BACKBONES[name] = Backbone(
      module, native, reduction, forms, fixed, options
    )
    return module

  return decorate


@functools.cache  # once, where a class has two names
def _check_when_made(module: type[nn.Module]) -> None:
  """Lets a class check its fields first of all."""
  finish = module.__post_init__

  def check(self):
    check_fields(self)
    finish(self)

  module.__post_init__ = check


@functools.cache
def _discover() -> None:
  """Imports every file of this folder, so that a new one needs no list."""
  package = __name__.rpartition(".")[0]
  path = importlib.import_module(package).__path__
  for found in pkgutil.iter_modules(path):
    importlib.import_module(f"{package}.{found.name}")


def list_models() -> list[str]:
  """Names of all backbones, sorted."""
  _discover()
  return sorted(_BACKBONES)


def backbone(name: str) -> Backbone:
  """The registry's entry of a backbone.

  Raises:
    UserError: the name is unknown.
  """
  _discover()
  if name not in _BACKBONES:
    raise UserError(
      f"unknown model {name!r}; choose from {', '.join(list_models())}"
    )
  return _BACKBONES[name]


def family(name: str) -> str:
  """What backbones of several published sizes have in common: "edsr"."""
  return {"edsr_baseline": "edsr"}.get(name, name)


def identify(module: nn.Module) -> tuple[str, str]:
  """Names of a network's backbone and of its attention.

  Raises:
    ValueError: the module is not of a registered backbone.
  """
  _discover()
  fitting = [
    (len(entry.options), name)
    for name, entry in _BACKBONES.items()
    if type(module) is entry.module
    and all(getattr(module, k) == v for k, v in entry.options.items())
  ]
  if not fitting:
    raise ValueError(f"{type(module).__name__} is not a registered backbone")
  # The name with the most published hyper-parameters: edsr_baseline over edsr.
  return max(fitting)[1], module.attention.kind


def check_options(name: str, options: Iterable[str]) -> None:
  """Raises UserError unless all are hyper-parameters of a backbone, by name.

  What `create_model` has an argument for is none.
  """
  fields = {f.name for f in dataclasses.fields(backbone(name).module)}
  settable = fields - _ARGUMENTS
  unknown = sorted(set(options) - settable)
  if unknown:
    raise UserError(
      f"{name} has no hyper-parameter {', '.join(unknown)}; it has"
      f" {', '.join(sorted(settable))}"
    )


def create_model(
  name: str,
  attn: str = "native",
  scale: int = 2,
  *,
  normalization: str = "paper",
  dtype: Any = None,
  **overrides,
) -> nn.Module:
  """Builds a backbone with an attention.

  Args:
    name: one of `list_models()`.
    attn: "native" (the backbone's own) or one of `bamjax.layers.ATTENTIONS`.
    scale: upscaling factor: 2, 3, 4, or 8 where the upsampler allows it.
    normalization: "paper" (the network is fed [0, 1]) or "official" (what the
      backbone's own release feeds it).
    dtype: dtype of the computation; None is float32. Parameters are float32.
    **overrides: hyper-parameters of the backbone, by field.

  Returns:
    A Linen module that maps RGB in [0, 1], N×H×W×3, to float32 RGB around
    [0, 1], N×sH×sW×3.

  Raises:
    UserError: a name, the scale or a hyper-parameter is unknown, or a value is
      none that it can have.
  """
  entry = backbone(name)
  if attn not in ("native", *ATTENTIONS):
    raise UserError(
      f"unknown attention {attn!r}; choose from"
      f" {', '.join(('native', *ATTENTIONS))}"
    )
  if scale not in SCALES:
    raise UserError(
      f"unknown scale {scale!r}; choose from {', '.join(map(str, SCALES))}"
    )
  if normalization not in entry.normalizations:
    raise UserError(
      f"{name} has no normalization {normalization!r}; choose from"
      f" {', '.join(entry.normalizations)}"
    )
  check_options(name, overrides.keys() - {"attention"})
  options = {**entry.options, **overrides}
  options.setdefault(
    "attention",
    Attention(
      entry.native if attn == "native" else attn, entry.reduction, dtype
    ),
  )
  return entry.module(
    scale=scale,
    normalization=entry.normalizations[normalization],
    dtype=dtype,
    **options,
  )
