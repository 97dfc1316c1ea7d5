"""Convolutions, pixel shuffle and upsamplers.

Every convolution of every backbone goes through `convolve`, the one place that
chooses an algorithm.
"""

from collections.abc import Callable
from collections.abc import Sequence
import itertools
import math
from typing import Any

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp
from jax.typing import DTypeLike

from bamjax.layers import halves
from bamjax.layers import nearest
from bamjax.layers import purpose
from bamjax.layers.cpu import choice
from bamjax.layers.fields import check_fields
from bamjax.layers.fields import is_whole
from bamjax.layers.xla import add_terms
from bamjax.layers.xla import convolve_by_xla


def torch_uniform(fan_in: int) -> Callable[..., jax.Array]:
  """PyTorch's default initializer of convolutions: U(-1/√fan_in, 1/√fan_in).

  The published recipes use it for kernels and biases.
  """
  bound = 1 / math.sqrt(fan_in)

  def init(
    key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32
  ) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


def convolve(
  x: jax.Array,
  kernel: jax.Array,
  bias: jax.Array | None = None,
  add: jax.Array | None = None,
  *,
  activation: str = "",
  groups: int = 1,
  dilation: int = 1,
  stride: int = 1,
  wide: bool = False,
) -> jax.Array:
  """Computes activation(x ∗ kernel + bias + add), with zero "same" padding.

  Args:
    x: N×H×W×C_in.
    kernel: k×k×(C_in/groups)×C_out, k odd, same dtype as x.
    bias: (C_out,) or None.
    add: N×H×W×C_out or None.
    activation: of `bamjax.layers.xla.ACTIVATIONS`: "", "relu" or "sigmoid".
    groups: number of channel groups.
    dilation: distance between the kernel's taps, in pixels.
    stride: see `Conv`.
    wide: whether the result is float32, whatever the inputs are.

  Returns:
    N×H×W×C_out, or with a stride smaller maps, dtype of x or float32.

  Raises:
    ValueError: x does not have four axes.
  """
  if x.ndim != 4:
    # oneDNN would read out of bounds.
    raise ValueError(f"features must be N×H×W×C; got shape {x.shape}")
  options: Any = {"groups": groups, "dilation": dilation, "stride": stride}
  if jax.default_backend() == "cpu":
    return choice.convolve(
      *(x, kernel, bias, add), activation=activation, wide=wide, **options
    )
  if wide:
    x, kernel = x.astype(jnp.float32), kernel.astype(jnp.float32)
  y = convolve_by_xla(x, kernel, **options)
  return add_terms(y, bias, add, activation=activation)


def _convolve_parts(
  parts: Sequence[jax.Array],
  kernel: jax.Array,
  bias: jax.Array | None,
  add: jax.Array | None,
  activation: str,
) -> jax.Array:
  """1×1 convolution of maps as if they were concatenated in the channels.

  It is a sum of convolutions, because XLA concatenates in one thread on the
  CPU.
  """
  ends = itertools.accumulate(part.shape[-1] for part in parts)
  kernels = jnp.split(kernel, list(ends)[:-1], axis=2)
  last = len(parts) - 1
  for i, (part, kernel) in enumerate(zip(parts, kernels, strict=True)):
    after = activation if i == last else ""
    add = convolve(part, kernel, bias, add, activation=after)
    bias = None
  assert add is not None  # there is at least one part
  return add


class Conv(nn.Module):
  """Convolution with zero "same" padding and PyTorch's initializer.

  Maps N×H×W×C_in to N×H×W×`features`, or with `upsample` to
  N×fH×fW×`features`. A list of maps is convolved as if the maps were
  concatenated in the channels. Parameters are float32: `kernel`
  k×k×(C_in/groups)×features, `bias` (features,) and `gain` (features,).

  Attributes:
    features: output channels.
    kernel_size: k, odd.
    use_bias: whether a bias is added.
    groups: channel groups; must divide C_in and features.
    dilation: distance between the kernel's taps, in pixels.
    stride: with 2 or more, only every so many outputs are computed, of those
      whose kernel lies inside the map: no padding is added.
    relu: whether the result goes through a ReLU.
    sigmoid: whether the result goes through a sigmoid.
    wide: whether the result is float32, whatever the inputs are: for images, of
      which bfloat16 holds only 8 bits.
    upsample: f, how many times x is first enlarged, by repeating its pixels.
    weight_norm: learn kernel = gain · direction / ‖direction‖ per output
      channel, as parameters `kernel` (the direction) and `gain` (Salimans &
      Kingma 2016, eq. 2).
    dtype: dtype of the computation and the result; None promotes the inputs
      and the parameters, like Flax's layers.
  """

  features: int
  kernel_size: int = 3
  use_bias: bool = True
  groups: int = 1
  dilation: int = 1
  stride: int = 1
  relu: bool = False
  sigmoid: bool = False
  wide: bool = False
  upsample: int = 1
  weight_norm: bool = False
  dtype: DTypeLike | None = None

  def __post_init__(self):
    super().__post_init__()
    check_fields(self)
    if self.kernel_size % 2 == 0:
      raise ValueError(f"kernel_size must be odd; got {self.kernel_size}")
    if self.upsample > 1 and self.groups * self.dilation * self.stride > 1:
      raise ValueError(
        "a convolution that upsamples has no groups, dilation or stride"
      )
    if self.relu and self.sigmoid:
      raise ValueError("a convolution has one activation: ReLU or sigmoid")

  @nn.compact
  def __call__(
    self,
    x: jax.Array | list[jax.Array],
    add: jax.Array | None = None,
    skip: int = 0,
  ) -> jax.Array:
    """Convolves x, N×H×W×C_in, and adds `add`, N×H×W×features.

    The addition and the activation are part of the layer because the CPU then
    needs only one pass over the output.

    Args:
      x: one map, or several.
      add: what is added before the activation.
      skip: how many of the first channels of x, one map, the layer does not
        see; they do not count as C_in.

    Raises:
      ValueError: x does not have four axes, `groups` does not divide its
        channels or `features`, or there is an `add` and the layer upsamples.
    """
    if add is not None and self.upsample > 1:
      raise ValueError("a convolution that upsamples adds nothing")
    parts = x if isinstance(x, list) else [x]
    k = self.kernel_size
    depth = sum(part.shape[-1] for part in parts) - skip
    if depth < 1 or depth % self.groups or self.features % self.groups:
      raise ValueError(
        f"a convolution in {self.groups} groups from {depth} to"
        f" {self.features} channels: both must be positive multiples of the"
        " groups"
      )
    shape = (k, k, depth // self.groups, self.features)
    init = torch_uniform(math.prod(shape[:3]))
    kernel = self.param("kernel", init, shape)
    if self.weight_norm:
      norm = jnp.sqrt(jnp.sum(kernel**2, axis=(0, 1, 2)))
      # As in PyTorch, the kernel equals the direction at the start.
      gain = self.param("gain", lambda _, __: norm, norm.shape)
      kernel = kernel * (gain / norm)
    bias = None
    if self.use_bias:
      bias = self.param("bias", init, (self.features,))
    # Programs for elsewhere stay as they are defined; so does what
    # `bamjax.inference.reach` reads.
    folded = self.upsample > 1 and not purpose.is_portable()
    if folded:
      kernel = nearest.fold(kernel, self.upsample)
      bias = None if bias is None else jnp.tile(bias, self.upsample**2)
    if self._reads_image(parts):
      parts = halves.split(*parts)
      kernel = jnp.concatenate([kernel, kernel], axis=2)
    kernel, bias, add, *parts = halves.promote(
      kernel, bias, add, *parts, dtype=self.dtype
    )
    if skip:
      kernel, parts = choice.skipped(kernel, parts, skip)
    if not folded:
      parts = [nearest.enlarge(part, self.upsample) for part in parts]
      return self._convolve(parts, kernel, bias, add)
    y = self._convolve(parts, kernel, bias, add)
    # Otherwise XLA would keep y, and interleave it in every pass that reads it.
    return choice.rearranged(nearest.interleave(y, self.upsample))

  def _reads_image(self, parts: list[jax.Array]) -> bool:
    """Whether x is an image that bfloat16 would round to 8 bits or less."""
    (x, *others) = parts
    return (
      self.dtype is not None
      and jnp.dtype(self.dtype) == jnp.bfloat16
      and x.dtype == jnp.float32
      and x.shape[-1] <= 12  # BSRN reads it four times
      and self.groups == 1
      and not others
      and not purpose.is_portable()
    )

  def _convolve(
    self,
    parts: list[jax.Array],
    kernel: jax.Array,
    bias: jax.Array | None,
    add: jax.Array | None,
  ) -> jax.Array:
    activation = "relu" if self.relu else "sigmoid" if self.sigmoid else ""
    plain = kernel.shape[0] == self.groups == self.stride == 1 and not self.wide
    if plain and jax.default_backend() == "cpu":
      return _convolve_parts(parts, kernel, bias, add, activation)
    return convolve(
      halves.concatenate(parts),
      *(kernel, bias, add),
      activation=activation,
      groups=self.groups,
      dilation=self.dilation,
      stride=self.stride,
      wide=self.wide,
    )


class BSConv(nn.Module):
  """Blueprint separable convolution: 1×1, then 3×3 in each channel by itself.

  Maps N×H×W×C_in to N×H×W×`features`. Only the second has a bias.

  Attributes:
    features: output channels.
    stride: see `Conv`.
    dtype: dtype of the computation.

  Source: Haase & Amthor 2020, "Rethinking depthwise separable convolutions",
  BSConv-U.
  """

  features: int
  stride: int = 1
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array, add: jax.Array | None = None) -> jax.Array:
    """Convolves x, N×H×W×C_in, and adds `add`, N×H×W×features."""
    pointwise = Conv(
      *(self.features, 1), use_bias=False, dtype=self.dtype, name="pointwise"
    )
    depthwise = Conv(
      self.features,
      groups=self.features,
      stride=self.stride,
      dtype=self.dtype,
      name="depthwise",
    )
    return depthwise(pointwise(x), add=add)


def pixel_shuffle(x: jax.Array, factor: int) -> jax.Array:
  """Rearranges factor² channels to factor×factor pixels, in PyTorch's order.

  Args:
    x: N×H×W×(C·factor²), channels ordered (c, row offset, column offset).
    factor: upscaling factor.

  Returns:
    N×(factor·H)×(factor·W)×C.

  Source: Shi et al. 2016, eq. 4. TensorFlow's `depth_to_space` differs: its
  channels are ordered (row offset, column offset, c).
  """
  n, h, w, c = x.shape
  x = x.reshape(n, h, w, c // factor**2, factor, factor)
  x = x.transpose(0, 1, 4, 2, 5, 3)
  return x.reshape(n, h * factor, w * factor, c // factor**2)


def upsample_bilinear(x: jax.Array, factor: int) -> jax.Array:
  """Bilinear interpolation: N×H×W×C → N×(factor·H)×(factor·W)×C.

  Aligns the outer corners of the outermost pixels and repeats the border
  (PyTorch's `align_corners=False`). Adds slices, where `jax.image.resize`
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
  """The `factor` phases of bilinear interpolation along an axis."""

  def part(start: int, stop: int | None) -> jax.Array:
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
    ValueError: scale is neither 3 nor a power of 2 that is greater than 1.
  """
  if scale == 3:
    return [3]
  if is_whole(scale) and scale > 1 and scale & (scale - 1) == 0:
    return [2] * (scale.bit_length() - 1)
  raise ValueError(f"scale must be 2, 3, 4 or 8; got {scale!r}")


class Upsampler(nn.Module):
  """EDSR's upsampler: for each factor f of the scale, conv C→C·f² and shuffle.

  Maps N×H×W×C to N×sH×sW×C (Lim et al. 2017, figure 3).

  Attributes:
    scale: s: 2, 3, 4 or 8.
    relu: whether a ReLU follows each convolution (CARN, DRLN).
    groups: channel groups of the convolutions (CARN-M).
    dtype: dtype of the computation.
  """

  scale: int
  relu: bool = False
  groups: int = 1
  dtype: DTypeLike | None = None

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
