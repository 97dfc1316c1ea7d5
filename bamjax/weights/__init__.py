"""Weights of networks: reading published ones, reading and writing our own."""

from bamjax.weights.hints import Hints
from bamjax.weights.loading import read_network
from bamjax.weights.store import save_weights

__all__ = ["Hints", "read_network", "save_weights"]
