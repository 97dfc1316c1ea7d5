"""s-LWSR: super lightweight super-resolution network (Li et al., TIP 2020)."""

from flax import linen as nn
import jax
from jax.typing import DTypeLike

from bamjax.layers import Attention
from bamjax.layers import Conv
from bamjax.layers import Normalization
from bamjax.layers import Upsampler
from bamjax.layers.blocks import ResidualBlock
from bamjax.models.registry import register


@register("slwsr32", official=Normalization(gain=255, shift=255), fixed=24)
class SLWSR(nn.Module):
  """s-LWSR: maps RGB in [0, 1], N×H×W×3, to float32 RGB, N×sH×sW×3.

  A U-shaped chain of residual blocks at one resolution: stages 2 to 6 are the
  left half, and 7 to 10, which mirror 5 to 2, the right. The attention follows
  the chain, before the global skip.

  Attributes:
    scale: s: 2, 3, 4 or 8.
    attention: factory of the attention.
    normalization: input convention.
    features: channels: 16 for s-LWSR16, 32 for s-LWSR32, 64 for s-LWSR64.
    dtype: dtype of the computation.
  """

  scale: int = 2
  attention: Attention = Attention()
  normalization: Normalization = Normalization()
  features: int = 32
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, lr: jax.Array) -> jax.Array:
    """Super-resolves lr, RGB in [0, 1], N×H×W×3."""

    def block(stage: int, i: int) -> ResidualBlock:
      return ResidualBlock(dtype=self.dtype, name=f"stage_{stage}_block_{i}")

    def squeeze(
      maps: list[jax.Array], name: str, use_bias: bool = True
    ) -> jax.Array:
      conv = Conv(self.features, 1, use_bias, dtype=self.dtype, name=name)
      return conv(maps)

    x = self.normalization.enter(lr)
    head = x = Conv(self.features, dtype=self.dtype, name="head")(x)

    firsts, lasts = {}, {}
    for stage in (2, 3, 4, 5):
      firsts[stage] = block(stage, 0)(x)
      lasts[stage] = block(stage, 2)(block(stage, 1)(firsts[stage]))
      x = firsts[stage] + lasts[stage]
    firsts[6] = block(6, 0)(x)
    x = block(6, 1)(firsts[6])

    # The information pool: the head, the first maps of stages 3 to 6, and the
    # bottom.
    maps = [head, *(firsts[stage] for stage in (3, 4, 5, 6)), x]
    pool = squeeze(maps, "pool", use_bias=False)

    for stage, mirror in ((7, 5), (8, 4), (9, 3), (10, 2)):
      side = 0.5 * lasts[mirror] + 0.5 * pool
      x = squeeze([x, side], f"stage_{stage}_squeeze")
      for i in range(3):
        x = block(stage, i)(x)

    x = self.attention()(x) + head
    x = Upsampler(self.scale, dtype=self.dtype, name="upsampler")(x)
    x = Conv(3, wide=True, dtype=self.dtype, name="tail")(x)
    return self.normalization.leave(x)
