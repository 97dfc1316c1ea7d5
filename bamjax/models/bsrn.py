"""BSRN: blueprint separable residual network (Li et al., CVPRW 2022)."""

import functools
from typing import ClassVar

from flax import linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from bamjax.layers import Attention
from bamjax.layers import Conv
from bamjax.layers import Normalization
from bamjax.layers import pixel_shuffle
from bamjax.layers.convolution import BSConv
from bamjax.layers.halves import elementwise
from bamjax.models.registry import register

_gelu = functools.partial(nn.gelu, approximate=False)
_activate = functools.partial(elementwise, _gelu)


class ESDB(nn.Module):
  """Efficient separable distillation block (figure 3).

  Maps N×H×W×C to N×H×W×C.

  Attributes:
    attention: factory of the attention.
    distilled: channels that each step keeps, in addition to refining all.
    dtype: dtype of the computation.
  """

  attention: Attention = Attention()
  distilled: int = 32
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Refines x, N×H×W×C."""
    features = x.shape[-1]
    kept = []
    y = x
    for i in range(3):
      distill = Conv(self.distilled, 1, dtype=self.dtype, name=f"distill_{i}")
      kept.append(_activate(distill(y)))
      refine = BSConv(features, dtype=self.dtype, name=f"refine_{i}")
      y = _activate(refine(y, add=y))
    last = BSConv(self.distilled, dtype=self.dtype, name="last")
    kept.append(_activate(last(y)))
    maps = jnp.concatenate(kept, axis=-1)
    y = Conv(features, 1, dtype=self.dtype, name="fuse")(maps)
    return self.attention()(y) + x


@register("bsrn", native="esa_cca")
class BSRN(nn.Module):
  """BSRN: maps RGB in [0, 1], N×H×W×3, to float32 RGB, N×sH×sW×3.

  Each block has an attention, on its fused channels, before the skip.

  Attributes:
    scale: s: 2, 3, 4 or 8.
    attention: factory of the attention.
    normalization: input convention.
    blocks: number of efficient separable distillation blocks.
    features: channels.
    distilled: channels that each step of a block keeps.
    dtype: dtype of the computation.
  """

  # Set5 ×2: 0.09 dB (docs/performance.md).
  loses_in_bfloat16: ClassVar[bool] = True

  scale: int = 2
  attention: Attention = Attention()
  normalization: Normalization = Normalization()
  blocks: int = 8
  features: int = 64
  distilled: int = 32
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, lr: jax.Array) -> jax.Array:
    """Super-resolves lr, RGB in [0, 1], N×H×W×3."""
    x = self.normalization.enter(lr)
    # Four copies, as released, so that the first kernel has 12 channels.
    x = jnp.concatenate([x] * 4, axis=-1)
    head = x = BSConv(self.features, dtype=self.dtype, name="head")(x)
    outputs = []
    for i in range(self.blocks):
      x = ESDB(self.attention, self.distilled, self.dtype, name=f"block_{i}")(x)
      outputs.append(x)
    x = Conv(self.features, 1, dtype=self.dtype, name="fuse")(outputs)
    x = _activate(x)
    x = BSConv(self.features, dtype=self.dtype, name="body")(x, add=head)
    x = Conv(3 * self.scale**2, wide=True, dtype=self.dtype, name="tail")(x)
    return self.normalization.leave(pixel_shuffle(x, self.scale))
