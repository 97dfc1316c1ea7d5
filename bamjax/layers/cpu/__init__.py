"""Convolution on the CPU: the choice of algorithm, oneDNN, kernel gradients."""
