"""Published weights, in and out."""

from bamjax.weights.pytorch import load_weights

__all__ = ["load_weights"]
