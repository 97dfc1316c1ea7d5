"""Weights, published and our own, in and out."""

from bamjax.weights.hints import Hints
from bamjax.weights.pytorch import read_network
from bamjax.weights.store import save_weights

__all__ = ["Hints", "read_network", "save_weights"]
