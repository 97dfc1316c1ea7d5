"""Super-resolution backbones, one in each file. Adding a file adds one."""

from bamjax.models.registry import create_model
from bamjax.models.registry import list_models

__all__ = ["create_model", "list_models"]
