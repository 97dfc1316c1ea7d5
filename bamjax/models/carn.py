"""CARN and CARN-M: cascading residual networks (Ahn et al., ECCV 2018)."""

from flax import linen as nn
import jax
from jax.typing import DTypeLike

from bamjax.errors import UserError
from bamjax.layers import Attention
from bamjax.layers import Conv
from bamjax.layers import Normalization
from bamjax.layers import Upsampler
from bamjax.models.registry import register

_SHIFTED = Normalization(gain=1, shift=1)


class Unit(nn.Module):
  """Residual unit of CARN, or efficient residual unit of CARN-M (figure 3).

  Maps N×H×W×C to N×H×W×C.

  Attributes:
    groups: channel groups of the 3×3 convolutions.
    mobile: whether a ReLU and a 1×1 convolution follow (CARN-M).
    dtype: dtype of the computation.
  """

  groups: int = 1
  mobile: bool = False
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Refines x, N×H×W×C."""

    def conv(size: int, groups: int, name: str) -> Conv:
      return Conv(
        *(x.shape[-1], size),
        groups=groups,
        relu=True,
        dtype=self.dtype,
        name=name,
      )

    y = conv(3, self.groups, "conv_0")(x)
    if not self.mobile:
      return conv(3, self.groups, "conv_1")(y, add=x)
    y = conv(3, self.groups, "conv_1")(y)
    return conv(1, 1, "conv_2")(y, add=x)


class CascadingBlock(nn.Module):
  """Units, each followed by a fusion of all maps so far (figure 2b).

  Maps N×H×W×C to N×H×W×C.

  Attributes:
    units: number of residual units.
    groups: channel groups of the units' 3×3 convolutions.
    mobile: whether to use CARN-M's unit, whose weights the block shares.
    dtype: dtype of the computation.
  """

  units: int = 3
  groups: int = 1
  mobile: bool = False
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Refines x, N×H×W×C."""
    features = x.shape[-1]
    maps = [x]
    for i in range(self.units):
      if i == 0 or not self.mobile:
        unit = Unit(self.groups, self.mobile, self.dtype, name=f"unit_{i}")
      maps.append(unit(x))
      conv = Conv(features, 1, relu=True, dtype=self.dtype, name=f"fuse_{i}")
      x = conv(maps)
    return x


class MultiScaleUpsampler(nn.Module):
  """Holds the parameters of upsamplers for several scales and runs one.

  Maps N×H×W×C to N×sH×sW×C.

  Attributes:
    scale: the scale that runs, one of `scales`.
    scales: the scales that have parameters.
    groups: channel groups of the convolutions.
    dtype: dtype of the computation.
  """

  scale: int
  scales: tuple[int, ...] = (2, 3, 4)
  groups: int = 1
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Upsamples x, N×H×W×C, to N×sH×sW×C."""
    # The others run only to create their parameters.
    scales = self.scales if self.is_initializing() else (self.scale,)
    outputs = {
      scale: Upsampler(
        scale, True, self.groups, self.dtype, name=f"scale_{scale}"
      )(x)
      for scale in scales
    }
    return outputs[self.scale]


@register("carn", paper=_SHIFTED, official=_SHIFTED, fixed=24)
@register("carn_m", paper=_SHIFTED, official=_SHIFTED, fixed=24, mobile=True)
class CARN(nn.Module):
  """CARN and CARN-M: maps RGB in [0, 1], N×H×W×3, to float32 RGB, N×sH×sW×3.

  An attention follows each fusion of blocks.

  Attributes:
    scale: s: 2, 3 or 4. Networks of all three have the same parameters.
    attention: factory of the attention.
    normalization: input convention.
    blocks: number of cascading blocks.
    units: residual units in a block.
    features: channels.
    groups: channel groups of the 3×3 convolutions in units and upsampler: 1 in
      the papers' tables, 4 in CARN-M's published weights.
    mobile: whether to use CARN-M's unit, whose weights each block shares.
    dtype: dtype of the computation.

  Raises:
    UserError: the scale is not 2, 3 or 4.
  """

  scale: int = 2
  attention: Attention = Attention()
  normalization: Normalization = Normalization()
  blocks: int = 3
  units: int = 3
  features: int = 64
  groups: int = 1
  mobile: bool = False
  dtype: DTypeLike | None = None

  def __post_init__(self):
    super().__post_init__()
    if self.scale not in MultiScaleUpsampler.scales:
      raise UserError(
        f"CARN and CARN-M upscale by 2, 3 or 4; got scale {self.scale}"
      )

  @nn.compact
  def __call__(self, lr: jax.Array) -> jax.Array:
    """Super-resolves lr, RGB in [0, 1], N×H×W×3."""
    x = self.normalization.enter(lr)
    x = Conv(self.features, dtype=self.dtype, name="head")(x)
    maps = [x]
    for i in range(self.blocks):
      y = CascadingBlock(
        self.units, self.groups, self.mobile, self.dtype, name=f"block_{i}"
      )(x)
      maps.append(y)
      x = Conv(self.features, 1, relu=True, dtype=self.dtype, name=f"fuse_{i}")(
        maps
      )
      x = self.attention(f"attention_{i}")(x)
    x = MultiScaleUpsampler(
      self.scale, groups=self.groups, dtype=self.dtype, name="upsampler"
    )(x)
    x = Conv(3, wide=True, dtype=self.dtype, name="tail")(x)
    return self.normalization.leave(x)
