"""Convolutions, pixel shuffle and upsamplers.

Every convolution of every backbone goes through `convolve`, so that the choice
of an algorithm has one place.
"""

import itertools
import math
from typing import Any

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from bamjax.layers.cpu import choice
from bamjax.layers.fields import check_fields
from bamjax.layers.fields import is_whole
from bamjax.layers.xla import direct
from bamjax.layers.xla import finish

Dtype = Any


def torch_uniform(fan_in: int):
  """PyTorch's default initializer of convs: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).

  The published recipes train from it, for kernels and for biases.
  """
  bound = 1 / math.sqrt(fan_in)

  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


def convolve(
  x: jax.Array,
  kernel: jax.Array,
  bias: jax.Array | None = None,
  add: jax.Array | None = None,
  *,
  relu: bool = False,
  groups: int = 1,
  dilation: int = 1,
) -> jax.Array:
  """Stride-1 convolution with zero 'same' padding, and what comes after it.

  Args:
    x: N×H×W×C_in.
    kernel: k×k×(C_in/groups)×C_out, k odd, same dtype as x.
    bias: (C_out,), added.
    add: N×H×W×C_out, added.
    relu: whether all ends with a ReLU.
    groups: number of channel groups.
    dilation: spacing of the kernel's taps.

  Returns:
    N×H×W×C_out, dtype of x.

  Raises:
    ValueError: x has not four axes.
  """
  if x.ndim != 4:
    # oneDNN's call would read beyond the array.
    raise ValueError(f"features are N×H×W×C; got shape {x.shape}")
  options = {"groups": groups, "dilation": dilation}
  if jax.default_backend() == "cpu":
    return choice.convolve(x, kernel, bias, add, relu=relu, **options)
  return finish(direct(x, kernel, **options), bias, add, relu=relu)


def _convolve_parts(parts, kernel, bias, add, relu):
  """A 1×1 convolution of maps that stand side by side in the channels.

  As a sum, since concatenating them is one thread's work on the CPU.
  """
  ends = itertools.accumulate(part.shape[-1] for part in parts)
  kernels = jnp.split(kernel, list(ends)[:-1], axis=2)
  last = len(parts) - 1
  for i, (part, kernel) in enumerate(zip(parts, kernels, strict=True)):
    add = convolve(part, kernel, bias, add, relu=relu and i == last)
    bias = None
  return add


class Conv(nn.Module):
  """Stride-1 convolution with zero 'same' padding and PyTorch's initializer.

  Maps N×H×W×C_in to N×H×W×`features`. Several maps in a list are convolved as
  if they were concatenated in the channels. Parameters are float32: `kernel`
  k×k×(C_in/groups)×features and `bias` (features,).

  Attributes:
    features: output channels.
    kernel_size: k, odd.
    use_bias: whether a bias is added.
    groups: channel groups; C_in and features are multiples of it.
    dilation: spacing of the kernel's taps.
    relu: whether all ends with a ReLU.
    weight_norm: learn kernel = gain · direction / ‖direction‖ per output
      channel (Salimans & Kingma 2016), as `kernel` (the direction) and `gain`.
    dtype: dtype of the computation and the result; None promotes those of
      the inputs and the parameters, as Flax does.
  """

  features: int
  kernel_size: int = 3
  use_bias: bool = True
  groups: int = 1
  dilation: int = 1
  relu: bool = False
  weight_norm: bool = False
  dtype: Dtype | None = None

  def __post_init__(self):
    super().__post_init__()
    check_fields(self)
    if self.kernel_size % 2 == 0:
      raise ValueError(f"kernel_size must be odd; got {self.kernel_size}")

  @nn.compact
  def __call__(
    self, x: jax.Array | list[jax.Array], add: jax.Array | None = None
  ) -> jax.Array:
    """Convolves x, N×H×W×C_in, and adds `add`, N×H×W×features.

    What is added, and a ReLU after it, are the conv's own matter because a CPU
    then does all in one pass over the output.

    Raises:
      ValueError: x has not four axes, or its channels are no multiple of
        `groups`.
    """
    parts = x if isinstance(x, list) else [x]
    k = self.kernel_size
    depth = sum(part.shape[-1] for part in parts)
    if depth < 1 or depth % self.groups or self.features % self.groups:
      raise ValueError(
        f"a conv in {self.groups} groups from {depth} to {self.features}"
        " channels: both must be positive multiples of the groups"
      )
    shape = (k, k, depth // self.groups, self.features)
    init = torch_uniform(math.prod(shape[:3]))
    kernel = self.param("kernel", init, shape)
    if self.weight_norm:
      norm = jnp.sqrt(jnp.sum(kernel**2, axis=(0, 1, 2)))
      # As in PyTorch, the gain starts where the kernel is the direction itself.
      gain = self.param("gain", lambda _, __: norm, norm.shape)
      kernel = kernel * (gain / norm)
    bias = self.param("bias", init, (self.features,)) if self.use_bias else None
    kernel, bias, add, *parts = nn.dtypes.promote_dtype(
      kernel, bias, add, *parts, dtype=self.dtype
    )
    if k == self.groups == 1 and jax.default_backend() == "cpu":
      return _convolve_parts(parts, kernel, bias, add, self.relu)
    return convolve(
      jnp.concatenate(parts, axis=-1),
      *(kernel, bias, add),
      relu=self.relu,
      groups=self.groups,
      dilation=self.dilation,
    )


def pixel_shuffle(x: jax.Array, factor: int) -> jax.Array:
  """Moves blocks of factor² channels into space, in PyTorch's channel order.

  Args:
    x: N×H×W×(C·factor²), channels ordered (c, row offset, column offset).
    factor: upscaling factor.

  Returns:
    N×(factor·H)×(factor·W)×C.

  Source: Shi et al. 2016, eq. 4. TensorFlow's `depth_to_space` orders its
  channels (row offset, column offset, c) and is not the same.
  """
  n, h, w, c = x.shape
  x = x.reshape(n, h, w, c // factor**2, factor, factor)
  x = x.transpose(0, 1, 4, 2, 5, 3)
  return x.reshape(n, h * factor, w * factor, c // factor**2)


def upsample_bilinear(x: jax.Array, factor: int) -> jax.Array:
  """Bilinear interpolation: N×H×W×C → N×(factor·H)×(factor·W)×C.

  Pixels are squares whose corners stay, and the border's are repeated outwards
  (PyTorch's `align_corners=False`). By slices, where `jax.image.resize`
  multiplies by a dense matrix that grows with the image.
  """
  n, h, w, c = x.shape
  if 0 in x.shape:
    return jnp.zeros((n, factor * h, factor * w, c), x.dtype)
  rows = _interpolated(x, factor, axis=1)
  phases = [y for row in rows for y in _interpolated(row, factor, axis=2)]
  y = jnp.concatenate([p[..., None] for p in phases], axis=-1)
  return pixel_shuffle(y.reshape(n, h, w, c * factor**2), factor)


def _interpolated(x: jax.Array, factor: int, axis: int) -> list[jax.Array]:
  """The phases of bilinear interpolation along an axis."""

  def part(start, stop):
    return lax.slice_in_dim(x, start, stop, axis=axis)

  before = lax.concatenate([part(0, 1), part(0, -1)], axis)
  after = lax.concatenate([part(1, None), part(-1, None)], axis)
  near = before, x, after
  phases = []
  for i in range(factor):
    position = (i + 0.5) / factor + 0.5
    start = int(position)
    share = position - start
    phases.append((1 - share) * near[start] + share * near[start + 1])
  return phases


def upsample_steps(scale: int) -> list[int]:
  """Factors of the pixel shuffles that make up `scale`: 4 → [2, 2], 3 → [3].

  Raises:
    ValueError: scale is neither 3 nor a power of two from 2 on.
  """
  if scale == 3:
    return [3]
  if is_whole(scale) and scale > 1 and scale & (scale - 1) == 0:
    return [2] * (scale.bit_length() - 1)
  raise ValueError(f"scale must be 2, 3, 4 or 8; got {scale!r}")


class Upsampler(nn.Module):
  """EDSR's upsampler: conv C→C·f² and pixel shuffle, once a factor of scale.

  Maps N×H×W×C to N×sH×sW×C.

  Attributes:
    scale: 2, 3, 4 or 8.
    relu: a ReLU after each conv (CARN, DRLN).
    groups: channel groups of the convs (CARN-M).
    dtype: dtype of the computation.
  """

  scale: int
  relu: bool = False
  groups: int = 1
  dtype: Dtype | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Upsamples x, N×H×W×C, to N×sH×sW×C."""
    channels = x.shape[-1]
    for i, factor in enumerate(upsample_steps(self.scale)):
      x = Conv(
        channels * factor**2,
        groups=self.groups,
        relu=self.relu,
        dtype=self.dtype,
        name=f"conv_{i}",
      )(x)
      x = pixel_shuffle(x, factor)
    return x
