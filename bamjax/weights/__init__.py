"""Weights of networks: reading published ones, reading and writing our own."""

from bamjax.weights.hints import Hints
from bamjax.weights.loading import read_network
from bamjax.weights.store import read_card
from bamjax.weights.store import save_weights

__all__ = ["Hints", "read_card", "read_network", "save_weights"]
