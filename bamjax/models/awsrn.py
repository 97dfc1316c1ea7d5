"""AWSRN: adaptive weighted super-resolution network (Wang et al., 2019)."""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from bamjax.layers import Attention
from bamjax.layers import Conv
from bamjax.layers import Normalization
from bamjax.layers import pixel_shuffle
from bamjax.models.registry import register

_Conv = functools.partial(Conv, weight_norm=True)


class Scale(nn.Module):
  """scale · x, with one learned factor.

  Attributes:
    initial: initial value of the factor.
    dtype: dtype of the computation.
  """

  initial: float = 1.0
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Scales x, any shape."""
    init = nn.initializers.constant(self.initial)
    scale = self.param("scale", init, (1,), jnp.float32)
    scale, x = nn.dtypes.promote_dtype(scale, x, dtype=self.dtype)
    return scale * x


class AWRU(nn.Module):
  """Adaptive weighted residual unit: a·conv(ReLU(conv(x))) + b·x (figure 3).

  Maps N×H×W×C to N×H×W×C.

  Attributes:
    wide_features: channels between the two convs.
    dtype: dtype of the computation.
  """

  wide_features: int = 128
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Refines x, N×H×W×C."""
    y = _Conv(self.wide_features, relu=True, dtype=self.dtype, name="conv_0")(x)
    y = _Conv(x.shape[-1], dtype=self.dtype, name="conv_1")(y)
    y = Scale(dtype=self.dtype, name="residual_scale")(y)
    return y + Scale(dtype=self.dtype, name="skip_scale")(x)


class LFB(nn.Module):
  """Local fusion block: a chain of units, fused by a convolution (figure 2).

  Maps N×H×W×C to N×H×W×C.

  Attributes:
    units: number of adaptive weighted residual units.
    wide_features: channels inside a unit.
    dtype: dtype of the computation.
  """

  units: int = 4
  wide_features: int = 128
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Refines x, N×H×W×C."""
    outputs = []
    y = x
    for i in range(self.units):
      y = AWRU(self.wide_features, self.dtype, name=f"unit_{i}")(y)
      outputs.append(y)
    y = jnp.concatenate(outputs, axis=-1)
    y = _Conv(x.shape[-1], dtype=self.dtype, name="fuse")(y)
    y = Scale(dtype=self.dtype, name="residual_scale")(y)
    return y + Scale(dtype=self.dtype, name="skip_scale")(x)


@register("awsrn", reduction=8, official=Normalization(gain=2, shift=2))
class AWSRN(nn.Module):
  """AWSRN: maps RGB in [0, 1], N×H×W×3, to float32 RGB, N×sH×sW×3.

  All convolutions but the attention's are weight-normalised. The attention is
  before the multi-scale tail.

  Attributes:
    scale: s: 2, 3, 4 or 8.
    attention: factory of the attention.
    normalization: input convention.
    blocks: number of local fusion blocks.
    units: adaptive weighted residual units in a block.
    features: channels.
    wide_features: channels inside a unit.
    tail_sizes: kernel sizes of the tail's branches.
    dtype: dtype of the computation.
  """

  scale: int = 2
  attention: Attention = Attention()
  normalization: Normalization = Normalization()
  blocks: int = 4
  units: int = 4
  features: int = 32
  wide_features: int = 128
  tail_sizes: tuple[int, ...] = (3, 5, 7, 9)
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, lr: jax.Array) -> jax.Array:
    """Super-resolves lr, RGB in [0, 1], N×H×W×3."""
    lr = self.normalization.enter(lr)
    x = _Conv(self.features, dtype=self.dtype, name="head")(lr)
    for i in range(self.blocks):
      x = LFB(self.units, self.wide_features, self.dtype, name=f"block_{i}")(x)
    x = self.attention()(x)

    # Shuffling the sum is the same as adding shuffled images, but cheaper.
    outputs = 3 * self.scale**2
    y = _Conv(outputs, dtype=self.dtype, name="skip")(lr)
    for size in self.tail_sizes:
      branch = _Conv(outputs, size, dtype=self.dtype, name=f"tail_{size}")(x)
      initial = 1 / len(self.tail_sizes)
      weigh = Scale(initial, self.dtype, name=f"tail_{size}_scale")
      y = y + weigh(branch)
    return self.normalization.leave(pixel_shuffle(y, self.scale))
