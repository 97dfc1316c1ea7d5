"""Super-resolution of images of any size."""

from bamjax.inference.upscaler import NotFiniteError
from bamjax.inference.upscaler import Upscaler

__all__ = ["NotFiniteError", "Upscaler"]
