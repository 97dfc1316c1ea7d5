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
from jax.typing import DTypeLike

from bamjax.errors import UserError
from bamjax.layers import Attention
from bamjax.layers import ATTENTIONS
from bamjax.layers import Normalization
from bamjax.layers.fields import check_fields

SCALES = (2, 3, 4, 8)
# Fields of a backbone that are not its hyper-parameters.
_ARGUMENTS = {"scale", "attention", "normalization", "dtype", "parent", "name"}


@dataclasses.dataclass(frozen=True)
class Backbone:
  """An entry of the registry.

  Attributes:
    module: class of the Linen module.
    native: the attention in the backbone's own paper.
    reduction: default ratio of the attention's bottleneck.
    normalizations: input conventions, by "paper" (the BAM paper) and "official"
      (the backbone's release).
    fixed: number of constants in the frozen mean-shift convolutions of released
      networks, which the BAM paper's Table 1 counts as parameters.
    options: published hyper-parameters that differ from the class's defaults.
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
  **options: Any,
) -> Callable[[type[nn.Module]], type[nn.Module]]:
  """Returns a class decorator that registers a backbone.

  The class needs the fields `scale`, `attention` (an `Attention`),
  `normalization` (a `Normalization`) and `dtype`. The constructor checks fields
  by their annotations (`bamjax.layers.fields`).

  Args:
    name: name of the backbone, as `create_model` takes it.
    native: the attention in the backbone's own paper.
    reduction: default ratio of the attention's bottleneck.
    official: input convention of the backbone's release; None: as `paper`.
    paper: input convention in the BAM paper; None: [0, 1].
    fixed: see `Backbone`.
    **options: published hyper-parameters that differ from the class's defaults.
  """

  def decorate(module: type[nn.Module]) -> type[nn.Module]:
    _check_when_made(module)
    paper_form = paper or Normalization()
    forms = {"paper": paper_form, "official": official or paper_form}
    _BACKBONES[name] = Backbone(
      module, native, reduction, forms, fixed, options
    )
    return module

  return decorate


def _check_when_made(module: type[nn.Module]) -> None:
  """Makes the constructor check the fields before anything else."""
  if any(entry.module is module for entry in _BACKBONES.values()):
    return  # a class with two names
  post_init = module.__post_init__

  def check(self: nn.Module) -> None:
    check_fields(self)
    post_init(self)

  module.__post_init__ = check  # type: ignore[method-assign] # our wrapper


@functools.cache
def _discover() -> None:
  """Imports every file of this folder, which registers its backbones."""
  package = __name__.rpartition(".")[0]
  path = importlib.import_module(package).__path__
  for found in pkgutil.iter_modules(path):
    importlib.import_module(f"{package}.{found.name}")


def list_models() -> list[str]:
  """Returns the names of all backbones, sorted."""
  _discover()
  return sorted(_BACKBONES)


def backbone(name: str) -> Backbone:
  """Returns the registry's entry of a backbone.

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
  """Returns the name that the published sizes of a backbone share."""
  return {"edsr_baseline": "edsr"}.get(name, name)


def identify(module: nn.Module) -> tuple[str, str]:
  """Returns the names of a network's backbone and of its attention.

  Raises:
    ValueError: the module is not a registered backbone.
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
  """Checks that a backbone has hyper-parameters of these names.

  Arguments of `create_model`, such as the scale, are not hyper-parameters.

  Raises:
    UserError: it doesn't.
  """
  fields = {f.name for f in dataclasses.fields(backbone(name).module)}
  settable = fields - _ARGUMENTS
  unknown = sorted(set(options) - settable)
  if unknown:
    raise UserError(
      f"{name} has no hyper-parameter {', '.join(unknown)}; it has"
      f" {', '.join(sorted(settable))}"
    )


def check_attention(name: str) -> None:
  """Raises UserError if a name is neither "native" nor an attention's."""
  known = ("native", *ATTENTIONS)
  if name not in known:
    raise UserError(
      f"unknown attention {name!r}; choose from {', '.join(known)}"
    )


def create_model(
  name: str,
  attn: str = "native",
  scale: int = 2,
  *,
  normalization: str = "paper",
  dtype: DTypeLike | None = None,
  **overrides: Any,
) -> nn.Module:
  """Builds a backbone with an attention.

  Args:
    name: one of `list_models()`.
    attn: "native" (the one in the backbone's paper), or one of
      `bamjax.layers.ATTENTIONS`.
    scale: upscaling factor s: 2, 3, 4 or 8; CARN has no 8.
    normalization: input convention of the network: "paper" (the BAM paper's) or
      "official" (the backbone's release). Images are in [0, 1] with both.
    dtype: dtype of the computation; None is float32. Parameters are float32.
    **overrides: hyper-parameters of the backbone, by field.

  Returns:
    A Linen module that maps RGB in [0, 1], N×H×W×3, to float32 RGB around
    [0, 1], N×sH×sW×3.

  Raises:
    UserError: a name, the scale or a hyper-parameter is unknown, or a value is
      invalid.
  """
  entry = backbone(name)
  check_attention(attn)
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
