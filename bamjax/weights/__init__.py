"""Weights, published and our own, in and out."""

from bamjax.weights.pytorch import load_weights
from bamjax.weights.store import save_weights

__all__ = ["load_weights", "save_weights"]
