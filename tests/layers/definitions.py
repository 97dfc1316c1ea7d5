"""Definitions of BAM, its two parts and the other attentions, in NumPy."""

import functools
import itertools

from flax import linen as nn
import jax
import numpy as np
from scipy import special

from bamjax import layers

KINDS = [kind for kind in layers.ATTENTIONS if kind != "none"]


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def relu(x):
  return np.maximum(x, 0)


def conv(x, kernel, bias=0.0, dilation=1):
  """Zero-padded 'same' cross-correlation, tap by tap, in float64."""
  k = kernel.shape[0]
  n, h, w, _ = x.shape
  y = np.zeros((n, h, w, kernel.shape[-1])) + bias
  for i, j, row, column in itertools.product(
    range(k), range(k), range(h), range(w)
  ):
    r = row + dilation * (i - k // 2)
    c = column + dilation * (j - k // 2)
    if 0 <= r < h and 0 <= c < w:
      y[:, row, column] += x[:, r, c] @ kernel[i, j]
  return y


def mean(x):
  return x.mean((1, 2), keepdims=True)


def top(x):
  return x.max((1, 2), keepdims=True)


def dense(x, p):
  """A 1×1 convolution with parameters p, as a product over channels."""
  return x @ p["kernel"][0, 0] + p.get("bias", 0)


def mlp(x, p):
  y = dense(x, p["squeeze"])
  if "activation" in p:
    y = relu(y) + p["activation"]["slope"] * np.minimum(y, 0)
  else:
    y = relu(y)
  return dense(y, p["excite"])


def channel_weights(x, p, max_pool=False):
  logits = mlp(mean(x), p["mlp"])
  if max_pool:
    logits = logits + mlp(top(x), p["mlp"])
  return sigmoid(logits)


def spatial_weights(x, p, avg_pool=False):
  maps = [x.mean(-1), x.max(-1)] if avg_pool else [x.max(-1)]
  return sigmoid(conv(np.stack(maps, -1), p["conv"]["kernel"]))


def cbam(x, p):
  x = channel_weights(x, p, max_pool=True) * x
  return spatial_weights(x, p["spatial"], avg_pool=True) * x


def cca(x, p):
  contrast = np.sqrt(((x - mean(x)) ** 2).mean((1, 2), keepdims=True))
  return sigmoid(mlp(contrast + mean(x), p["mlp"])) * x


def la(x, p):
  maps = [
    relu(
      conv(
        mean(x),
        p[f"dilated_{d}"]["kernel"],
        p[f"dilated_{d}"]["bias"],
        dilation=d,
      )
    )
    for d in (3, 5, 7)
  ]
  y = conv(np.concatenate(maps, -1), p["fuse"]["kernel"], p["fuse"]["bias"])
  return sigmoid(y) * x


def bam(x, p, every=False):
  return (
    channel_weights(x, p["acam"], every)
    * spatial_weights(x, p["msam"], every)
    * x
  )


def gelu(x):
  return x * (1 + special.erf(x / np.sqrt(2))) / 2


def separable(x, p, stride=1):
  """A 1×1 convolution, then a 3×3 one of each channel."""
  x, kernel = dense(x, p["pointwise"]), p["depthwise"]["kernel"]
  parts = [conv(x[..., [c]], kernel[..., [c]]) for c in range(kernel.shape[-1])]
  y = np.concatenate(parts, -1) + p["depthwise"]["bias"]
  # With a stride there is no padding.
  return y if stride == 1 else y[:, 1:-1:stride, 1:-1:stride]


def bilinear(x, size, axis):
  """Linear interpolation between the centres of an axis's pixels."""
  count = x.shape[axis]
  position = (np.arange(size) + 0.5) * count / size - 0.5
  shares = np.stack(
    [np.interp(position, range(count), row) for row in np.eye(count)]
  )
  return np.moveaxis(np.tensordot(x, shares, (axis, 0)), -1, axis)


def esa(x, p):
  fine = dense(x, p["narrow"])
  height, width = x.shape[1:3]
  missing = [(0, max(15 - n, 0)) for n in (height, width)]
  y = np.pad(fine, ((0, 0), *missing, (0, 0)), "edge")
  y = separable(y, p["stride"], stride=2)
  y = np.lib.stride_tricks.sliding_window_view(y, (7, 7), (1, 2))
  y = y[:, ::3, ::3].max((-1, -2))
  y = gelu(separable(y, p["coarse_0"]))
  y = separable(gelu(separable(y, p["coarse_1"])), p["coarse_2"])
  y = bilinear(bilinear(y, height, 1), width, 2)
  return sigmoid(dense(y + dense(fine, p["fine"]), p["widen"]))


DEFINITIONS = {
  "bam": bam,
  "ca": lambda x, p: channel_weights(x, p) * x,
  "cca": cca,
  "se": lambda x, p: channel_weights(x, p) * x,
  "cbam": cbam,
  "pa": lambda x, p: sigmoid(dense(x, p["conv"])) * x,
  "la": la,
  "acam": lambda x, p: channel_weights(x, p) * x,
  "msam": lambda x, p: spatial_weights(x, p) * x,
  "acam_maxpool": lambda x, p: channel_weights(x, p, True) * x,
  "msam_avgpool": lambda x, p: spatial_weights(x, p, True) * x,
  "bam_allpool": lambda x, p: bam(x, p, True),
  "esa_cca": lambda x, p: cca(esa(x, p["esa"]) * x, p["cca"]),
}


class Net(nn.Module):
  """A model that consists of one attention."""

  attention: layers.Attention

  @nn.compact
  def __call__(self, x):
    return self.attention()(x)


def random_features(seed=0, shape=(2, 9, 8, 32)):
  return jax.random.normal(jax.random.key(seed), shape)


def build(kind, x, reduction=4):
  """Returns an attention for features like x, and its variables."""
  return _built(kind, x.shape, reduction)


@functools.cache
def _built(kind, shape, reduction):
  net = Net(layers.Attention(kind, reduction))
  x = jax.ShapeDtypeStruct(shape, np.float32)
  shapes = jax.eval_shape(net.init, jax.random.key(0), x)
  rng = np.random.default_rng(1)

  # Away from zero, where sigmoids would all be about a half.
  def draw(path, leaf):
    values = 0.35 * rng.standard_normal(leaf.shape)
    return np.float32(values + (0.25 if path[-1].key == "slope" else 0))

  return net, jax.tree_util.tree_map_with_path(draw, shapes)


@functools.cache
def compiled(net):
  """Returns the compiled attention, one for all tests."""
  return jax.jit(net.apply)


def to_numpy(variables):
  return jax.tree.map(
    lambda p: np.asarray(p, np.float64), variables["params"]["attention"]
  )


def count(tree):
  return sum(p.size for p in jax.tree.leaves(tree))
