"""IMDN: information multi-distillation network (Hui et al., ACM MM 2019)."""

from flax import linen as nn
import jax
from jax import lax
from jax.typing import DTypeLike

from bamjax.errors import UserError
from bamjax.layers import Attention
from bamjax.layers import Conv
from bamjax.layers import Normalization
from bamjax.layers import pixel_shuffle
from bamjax.layers.halves import concatenate
from bamjax.layers.halves import elementwise
from bamjax.models.registry import register


def _activate(x: jax.Array) -> jax.Array:
  return elementwise(lambda x: nn.leaky_relu(x, 0.05), x)


class IMDB(nn.Module):
  """Information multi-distillation block (figure 3).

  Maps N×H×W×C to N×H×W×C.

  Attributes:
    attention: factory of the attention.
    distilled: channels that each step keeps; the next step refines the rest.
    dtype: dtype of the computation.
  """

  attention: Attention = Attention()
  distilled: int = 16
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Refines x, N×H×W×C."""
    features = x.shape[-1]
    kept = []
    y, seen = x, 0
    for i in range(3):
      conv = Conv(features, dtype=self.dtype, name=f"conv_{i}")
      y, seen = _activate(conv(y, skip=seen)), self.distilled
      kept.append(lax.slice_in_dim(y, 0, seen, axis=3))
    conv = Conv(self.distilled, dtype=self.dtype, name="conv_3")
    kept.append(conv(y, skip=seen))
    y = self.attention()(concatenate(kept))
    return Conv(features, 1, dtype=self.dtype, name="fuse")(y, add=x)


@register("imdn", native="cca")
class IMDN(nn.Module):
  """IMDN: maps RGB in [0, 1], N×H×W×3, to float32 RGB, N×sH×sW×3.

  Each block has an attention, on the concatenated distilled channels.

  Attributes:
    scale: s: 2, 3, 4 or 8.
    attention: factory of the attention.
    normalization: input convention.
    blocks: number of information multi-distillation blocks.
    features: channels.
    distilled: channels that each step of a block keeps.
    dtype: dtype of the computation.

  Raises:
    UserError: `distilled` leaves no channel for the next step.
  """

  scale: int = 2
  attention: Attention = Attention()
  normalization: Normalization = Normalization()
  blocks: int = 6
  features: int = 64
  distilled: int = 16
  dtype: DTypeLike | None = None

  def __post_init__(self):
    super().__post_init__()
    if self.distilled >= self.features:
      raise UserError(
        f"IMDN distills {self.distilled} of {self.features} channels, which"
        " leaves none to refine: increase features or decrease distilled"
      )

  @nn.compact
  def __call__(self, lr: jax.Array) -> jax.Array:
    """Super-resolves lr, RGB in [0, 1], N×H×W×3."""
    x = self.normalization.enter(lr)
    head = x = Conv(self.features, dtype=self.dtype, name="head")(x)
    outputs = []
    for i in range(self.blocks):
      x = IMDB(self.attention, self.distilled, self.dtype, name=f"block_{i}")(x)
      outputs.append(x)
    x = Conv(self.features, 1, dtype=self.dtype, name="fuse")(outputs)
    x = _activate(x)
    x = Conv(self.features, dtype=self.dtype, name="body")(x, add=head)
    x = Conv(3 * self.scale**2, wide=True, dtype=self.dtype, name="tail")(x)
    return self.normalization.leave(pixel_shuffle(x, self.scale))
