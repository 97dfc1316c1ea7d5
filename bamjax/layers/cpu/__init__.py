"""Convolution on the CPU: choice of algorithm, oneDNN, kernel gradients."""
