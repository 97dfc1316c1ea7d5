"""MSRN: multi-scale residual network (Li et al., ECCV 2018)."""

from flax import linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from bamjax.layers import Attention
from bamjax.layers import Conv
from bamjax.layers import Normalization
from bamjax.layers import Upsampler
from bamjax.models.registry import register


class MSRB(nn.Module):
  """Multi-scale residual block (figure 3).

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
    features = x.shape[-1]
    y = x
    for i in range(2):
      # 3×3 and 5×5 branches, twice; the second two see both of the first.
      branches = [
        Conv(
          *(y.shape[-1], size),
          relu=True,
          dtype=self.dtype,
          name=f"conv_{size}x{size}_{i}",
        )(y)
        for size in (3, 5)
      ]
      y = jnp.concatenate(branches, axis=-1)
    y = Conv(features, 1, dtype=self.dtype, name="fuse")(y)
    return x + self.attention()(y)


@register("msrn", official=Normalization(gain=255, shift=255), fixed=24)
class MSRN(nn.Module):
  """MSRN: maps RGB in [0, 1], N×H×W×3, to float32 RGB, N×sH×sW×3.

  Each block has an attention, before its skip.

  Attributes:
    scale: s: 2, 3, 4 or 8.
    attention: factory of the attention.
    normalization: input convention.
    blocks: number of multi-scale residual blocks.
    features: channels.
    dtype: dtype of the computation.
  """

  scale: int = 2
  attention: Attention = Attention()
  normalization: Normalization = Normalization()
  blocks: int = 8
  features: int = 64
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, lr: jax.Array) -> jax.Array:
    """Super-resolves lr, RGB in [0, 1], N×H×W×3."""
    x = self.normalization.enter(lr)
    head = x = Conv(self.features, dtype=self.dtype, name="head")(x)
    outputs = []
    for i in range(self.blocks):
      x = MSRB(self.attention, self.dtype, name=f"block_{i}")(x)
      outputs.append(x)
    outputs.append(head)
    x = Conv(self.features, 1, dtype=self.dtype, name="fuse")(outputs)
    x = Conv(self.features, dtype=self.dtype, name="body")(x)
    x = Upsampler(self.scale, dtype=self.dtype, name="upsampler")(x)
    x = Conv(3, wide=True, dtype=self.dtype, name="tail")(x)
    return self.normalization.leave(x)
