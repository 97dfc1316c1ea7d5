"""RCAN: residual channel attention network (Zhang et al., ECCV 2018)."""

from typing import Any

from flax import linen as nn
import jax

from bamjax.layers import Attention
from bamjax.layers import Conv
from bamjax.layers import Normalization
from bamjax.layers import Upsampler
from bamjax.layers.blocks import ResidualBlock
from bamjax.models.registry import register


class ResidualGroup(nn.Module):
  """Residual channel attention blocks and a conv in one skip (RCAN, figure 2).

  Maps N×H×W×C to N×H×W×C.

  Attributes:
    blocks: residual channel attention blocks.
    attention: factory of the blocks' attention.
    remat: recompute the blocks' activations in the backward pass.
    dtype: dtype of the computation.
  """

  blocks: int = 20
  attention: Attention = Attention()
  remat: bool = False
  dtype: Any = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Refines x, N×H×W×C."""
    block = nn.remat(ResidualBlock) if self.remat else ResidualBlock
    y = x
    # Not scanned: in a loop, XLA's backward convs are 20 times slower on a CPU.
    for i in range(self.blocks):
      y = block(1.0, self.attention, self.dtype, name=f"block_{i}")(y)
    return Conv(x.shape[-1], dtype=self.dtype, name="body")(y, add=x)


@register(
  "rcan", native="ca", official=Normalization(gain=255, shift=255), fixed=24
)
class RCAN(nn.Module):
  """Maps RGB in [0, 1], N×H×W×3, to N×sH×sW×3.

  An attention stands in each block, before its skip.

  Attributes:
    scale: 2, 3, 4 or 8.
    attention: factory of the attention.
    normalization: input convention.
    groups: residual groups.
    blocks: blocks of a group.
    features: channels.
    remat: recompute the blocks' activations in the backward pass: less memory,
      more time.
    dtype: dtype of the computation.
  """

  scale: int = 2
  attention: Attention = Attention()
  normalization: Normalization = Normalization()
  groups: int = 10
  blocks: int = 20
  features: int = 64
  remat: bool = False
  dtype: Any = None

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
    x = Conv(3, dtype=self.dtype, name="tail")(x)
    return self.normalization.leave(x)
