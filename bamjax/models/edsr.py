"""EDSR: enhanced deep residual networks (Lim et al., CVPRW 2017)."""

from flax import linen as nn
import jax
from jax.typing import DTypeLike

from bamjax.layers import Attention
from bamjax.layers import Conv
from bamjax.layers import Normalization
from bamjax.layers import Upsampler
from bamjax.layers.blocks import ResidualBlock
from bamjax.models.registry import register

_OFFICIAL = Normalization(gain=255, shift=255)


@register("edsr", official=_OFFICIAL, fixed=24)
@register("edsr_baseline", official=_OFFICIAL, fixed=24, blocks=16, features=64)
class EDSR(nn.Module):
  """EDSR: maps RGB in [0, 1], N×H×W×3, to float32 RGB, N×sH×sW×3.

  The attention follows the body, before the global skip.

  Attributes:
    scale: s: 2, 3, 4 or 8.
    attention: factory of the attention.
    normalization: input convention.
    blocks: number of residual blocks.
    features: channels.
    res_scale: factor of each residual branch: 1 in the BAM paper, 0.1 in
      EDSR's.
    remat: whether to recompute the blocks' activations in the backward pass:
      less memory, more time.
    dtype: dtype of the computation.
  """

  scale: int = 2
  attention: Attention = Attention()
  normalization: Normalization = Normalization()
  blocks: int = 32
  features: int = 256
  res_scale: float = 1.0
  remat: bool = False
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, lr: jax.Array) -> jax.Array:
    """Super-resolves lr, RGB in [0, 1], N×H×W×3."""
    block = nn.remat(ResidualBlock) if self.remat else ResidualBlock
    x = self.normalization.enter(lr)
    head = x = Conv(self.features, dtype=self.dtype, name="head")(x)
    for i in range(self.blocks):
      x = block(self.res_scale, dtype=self.dtype, name=f"block_{i}")(x)
    x = Conv(self.features, dtype=self.dtype, name="body")(x)
    x = self.attention()(x) + head
    x = Upsampler(self.scale, dtype=self.dtype, name="upsampler")(x)
    x = Conv(3, wide=True, dtype=self.dtype, name="tail")(x)
    return self.normalization.leave(x)
