"""DRLN: densely residual Laplacian network (Anwar & Barnes, TPAMI 2020)."""

from flax import linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from bamjax.layers import Attention
from bamjax.layers import Conv
from bamjax.layers import Normalization
from bamjax.layers import Upsampler
from bamjax.layers.blocks import ResidualBlock
from bamjax.models.registry import register


class DRLM(nn.Module):
  """Dense residual Laplacian module (figure 2).

  Maps N×H×W×C to N×H×W×C.

  Attributes:
    attention: factory of the attention.
    dtype: dtype of the computation.
  """

  attention: Attention = Attention()
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Refines x, N×H×W×C."""
    maps = [x]
    for i in range(3):
      # Each sees all maps so far: C, 2C and 4C channels.
      y = jnp.concatenate(maps, axis=-1)
      y = ResidualBlock(dtype=self.dtype, name=f"residual_{i}")(y)
      maps.append(nn.relu(y))
    y = Conv(x.shape[-1], 1, relu=True, dtype=self.dtype, name="fuse")(maps)
    return self.attention()(y)


@register(
  "drln",
  native="la",
  paper=Normalization(gain=1, shift=1),
  # The release feeds images in [0, 255], but subtracts the mean of [0, 1].
  official=Normalization(gain=255, shift=1),
  fixed=24,
)
class DRLN(nn.Module):
  """DRLN: maps RGB in [0, 1], N×H×W×3, to float32 RGB, N×sH×sW×3.

  An attention ends each block.

  Attributes:
    scale: s: 2, 3, 4 or 8.
    attention: factory of the attention.
    normalization: input convention.
    groups: number of blocks in each group (cascading structure).
    features: channels.
    remat: whether to recompute the blocks' activations in the backward pass:
      less memory, more time.
    dtype: dtype of the computation.
  """

  scale: int = 2
  attention: Attention = Attention()
  normalization: Normalization = Normalization()
  groups: tuple[int, ...] = (3, 3, 3, 3, 4, 4)
  features: int = 64
  remat: bool = False
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, lr: jax.Array) -> jax.Array:
    """Super-resolves lr, RGB in [0, 1], N×H×W×3."""
    block = nn.remat(DRLM) if self.remat else DRLM
    x = self.normalization.enter(lr)
    head = x = Conv(self.features, dtype=self.dtype, name="head")(x)

    group_input = fused = head
    i = 0
    for group, size in enumerate(self.groups):
      # As in the release, the maps start with the last fusion, without skip.
      maps = fused
      x = group_input
      for j in range(size):
        if (group, j) == (1, 1):
          # A mistake in the release, which its weights were trained with:
          # this block reads its group's input. Nothing reads the fusion before
          # it, whose parameters are counted but never trained.
          x = group_input
        x = block(self.attention, self.dtype, name=f"block_{i}")(x)
        maps = jnp.concatenate([maps, x], axis=-1)
        x = fused = Conv(
          self.features, relu=True, dtype=self.dtype, name=f"fuse_{i}"
        )(maps)
        i += 1
      group_input = fused + group_input

    x = group_input + head
    x = Upsampler(self.scale, True, dtype=self.dtype, name="upsampler")(x)
    x = Conv(3, wide=True, dtype=self.dtype, name="tail")(x)
    return self.normalization.leave(x)
