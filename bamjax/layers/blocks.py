"""A block that several backbones share."""

from flax import linen as nn
import jax
from jax.typing import DTypeLike

from bamjax.layers.attention import Attention
from bamjax.layers.attention import promoted
from bamjax.layers.convolution import Conv


class ResidualBlock(nn.Module):
  """x + res_scale · attention(conv(ReLU(conv(x)))).

  EDSR's block (Lim et al. 2017, figure 2c); with an attention, RCAN's RCAB
  (Zhang et al. 2018, figure 4). Maps N×H×W×C to N×H×W×C.

  Attributes:
    res_scale: factor of the residual branch.
    attention: factory of the attention.
    dtype: dtype of the computation.
  """

  res_scale: float = 1.0
  attention: Attention = Attention()
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Refines x, N×H×W×C."""
    x = promoted(x, self.dtype)
    features = x.shape[-1]
    y = Conv(features, relu=True, dtype=self.dtype, name="conv_0")(x)
    conv = Conv(features, dtype=self.dtype, name="conv_1")
    if self.res_scale == 1 and self.attention.kind == "none":
      return conv(y, add=x)
    return x + self.res_scale * self.attention()(conv(y))
