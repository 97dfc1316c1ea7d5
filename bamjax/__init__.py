"""Single-image super-resolution in JAX with balanced attention (BAM)."""

import importlib
from typing import Any
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from bamjax.errors import UserError
  from bamjax.inference import Upscaler
  from bamjax.inference.attention_maps import attention_maps
  from bamjax.layers import BAM
  from bamjax.models import create_model
  from bamjax.models import list_models
  from bamjax.networks import load_weights
  from bamjax.weights import read_card
  from bamjax.weights import save_weights

__version__ = "0.2.0"

__all__ = [
  "BAM",
  "Upscaler",
  "UserError",
  "attention_maps",
  "create_model",
  "list_models",
  "load_weights",
  "read_card",
  "save_weights",
]

# Imported on first use, so that `bamjax --help` does not wait for JAX.
_MODULES = {
  "BAM": "bamjax.layers",
  "Upscaler": "bamjax.inference",
  "UserError": "bamjax.errors",
  "attention_maps": "bamjax.inference.attention_maps",
  "create_model": "bamjax.models",
  "list_models": "bamjax.models",
  "load_weights": "bamjax.networks",
  "read_card": "bamjax.weights",
  "save_weights": "bamjax.weights",
}


def __getattr__(name: str) -> Any:
  """Imports a public name, or a submodule such as `bamjax.metrics`."""
  if name in _MODULES:
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value
  if not name.startswith("_"):
    module = f"{__name__}.{name}"
    try:
      return importlib.import_module(module)
    except ModuleNotFoundError as error:
      if error.name != module:
        raise
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
