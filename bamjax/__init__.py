"""Single-image super-resolution in JAX with balanced attention (BAM)."""

from bamjax.errors import UserError
from bamjax.inference import Upscaler
from bamjax.inference.attention_maps import attention_maps
from bamjax.layers import BAM
from bamjax.models import create_model
from bamjax.models import list_models
from bamjax.networks import load_weights
from bamjax.weights import save_weights

__version__ = "0.1.0"

__all__ = [
  "BAM",
  "Upscaler",
  "UserError",
  "attention_maps",
  "create_model",
  "list_models",
  "load_weights",
  "save_weights",
]
