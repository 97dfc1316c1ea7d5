"""Super-resolution backbones, one a file. Adding a file adds a backbone."""

from bamjax.models.registry import create_model
from bamjax.models.registry import list_models

__all__ = ["create_model", "list_models"]
