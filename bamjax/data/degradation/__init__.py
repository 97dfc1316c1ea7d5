"""Realistic degradations in JAX: blur, resizing, noise and JPEG.

`degrade` applies a mixture of them to a batch; `mixtures` describes it. Each
part, in `blur`, `rescaling`, `noise` and `jpeg`, works alone on one image, has
static shapes and traced parameters, and may be jitted and vmapped. Images are
planes here, C×H×W, which suits vector units: with channels last, noise takes
seven times as long on a CPU.
"""
