"""RCAN: residual channel attention network (Zhang et al., ECCV 2018)."""

from flax import linen as nn
import jax
from jax.typing import DTypeLike

from bamjax.layers import Attention
from bamjax.layers import Conv
from bamjax.layers import Normalization
from bamjax.layers import Upsampler
from bamjax.layers.blocks import ResidualBlock
from bamjax.models.registry import register


class ResidualGroup(nn.Module):
  """Residual group: blocks and a convolution within one skip (figure 2).

  Maps N×H×W×C to N×H×W×C.

  Attributes:
    blocks: number of residual channel attention blocks.
    attention: factory of the blocks' attention.
    remat: whether to recompute the blocks' activations in the backward pass.
    dtype: dtype of the computation.
  """

  blocks: int = 20
  attention: Attention = Attention()
  remat: bool = False
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Refines x, N×H×W×C."""
    block = nn.remat(ResidualBlock) if self.remat else ResidualBlock
    y = x
    # Not `nn.scan`: on the CPU, XLA's backward convolutions are 20 times
    # slower inside a loop.
    for i in range(self.blocks):
      y = block(1.0, self.attention, self.dtype, name=f"block_{i}")(y)
    return Conv(x.shape[-1], dtype=self.dtype, name="body")(y, add=x)


@register(
  "rcan", native="ca", official=Normalization(gain=255, shift=255), fixed=24
)
class RCAN(nn.Module):
  """RCAN: maps RGB in [0, 1], N×H×W×3, to float32 RGB, N×sH×sW×3.

  Each block has an attention, before its skip.

  Attributes:
    scale: s: 2, 3, 4 or 8.
    attention: factory of the attention.
    normalization: input convention.
    groups: number of residual groups.
    blocks: blocks in a group.
    features: channels.
    remat: whether to recompute the blocks' activations in the backward pass:
      less memory, more time.
    dtype: dtype of the computation.
  """

  scale: int = 2
  attention: Attention = Attention()
  normalization: Normalization = Normalization()
  groups: int = 10
  blocks: int = 20
  features: int = 64
  remat: bool = False
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, lr: jax.Array) -> jax.Array:
    """Super-resolves lr, RGB in [0, 1], N×H×W×3."""
    x = self.normalization.enter(lr)
    head = x = Conv(self.features, dtype=self.dtype, name="head")(x)
    for i in range(self.groups):
      x = ResidualGroup(
        self.blocks, self.attention, self.remat, self.dtype, name=f"group_{i}"
      )(x)
    x = Conv(self.features, dtype=self.dtype, name="body")(x, add=head)
    x = Upsampler(self.scale, dtype=self.dtype, name="upsampler")(x)
    x = Conv(3, wide=True, dtype=self.dtype, name="tail")(x)
    return self.normalization.leave(x)
