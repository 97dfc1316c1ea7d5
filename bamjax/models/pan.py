"""PAN: pixel attention network (Zhao et al., ECCVW 2020)."""

from flax import linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from bamjax.errors import UserError
from bamjax.layers import Attention
from bamjax.layers import Conv
from bamjax.layers import Normalization
from bamjax.layers.convolution import upsample_bilinear
from bamjax.layers.convolution import upsample_steps
from bamjax.layers.halves import elementwise
from bamjax.models.registry import register


def _activate(x: jax.Array) -> jax.Array:
  return elementwise(lambda x: nn.leaky_relu(x, 0.2), x)


class SCPA(nn.Module):
  """Self-calibrated block with pixel attention (figure 3).

  Maps N×H×W×C to N×H×W×C.
  """

  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Refines x, N×H×W×C."""

    def conv(features: int, size: int, name: str, gate: bool = False) -> Conv:
      return Conv(
        *(features, size, gate), sigmoid=gate, dtype=self.dtype, name=name
      )

    half = x.shape[-1] // 2
    a = _activate(conv(half, 1, "split_a")(x))
    b = _activate(conv(half, 1, "split_b")(x))
    a = _activate(conv(half, 3, "plain")(a))
    gate = conv(half, 1, "gate", gate=True)(b)
    b = elementwise(jnp.multiply, conv(half, 3, "gated_0")(b), gate)
    b = _activate(conv(half, 3, "gated_1")(b))
    # Concatenated, not a list, because XLA fuses it with the activations.
    maps = jnp.concatenate([a, b], axis=-1)
    return conv(2 * half, 1, "fuse")(maps, add=x)


@register("pan", native="pa", reduction=8)
class PAN(nn.Module):
  """PAN: maps RGB in [0, 1], N×H×W×3, to float32 RGB, N×sH×sW×3.

  The attention is in the upsampling part. The gates inside the blocks stay,
  whatever the attention is.

  Attributes:
    scale: s: 2, 3, 4 or 8.
    attention: factory of the attention.
    normalization: input convention.
    blocks: number of SCPA blocks.
    features: channels of the trunk; even.
    up_features: channels of the upsampling part.
    dtype: dtype of the computation.

  Raises:
    UserError: `features` is odd.
  """

  scale: int = 2
  attention: Attention = Attention()
  normalization: Normalization = Normalization()
  blocks: int = 16
  features: int = 40
  up_features: int = 24
  dtype: DTypeLike | None = None

  def __post_init__(self):
    super().__post_init__()
    if self.features % 2:
      raise UserError(
        f"PAN needs an even number of features; got {self.features}"
      )

  @nn.compact
  def __call__(self, lr: jax.Array) -> jax.Array:
    """Super-resolves lr, RGB in [0, 1], N×H×W×3."""
    lr = self.normalization.enter(lr)
    head = x = Conv(self.features, dtype=self.dtype, name="head")(lr)
    for i in range(self.blocks):
      x = SCPA(self.dtype, name=f"block_{i}")(x)
    x = Conv(self.features, dtype=self.dtype, name="body")(x, add=head)

    for i, factor in enumerate(upsample_steps(self.scale)):
      x = Conv(
        *(self.up_features, 3),
        upsample=factor,
        dtype=self.dtype,
        name=f"up_{i}_conv_0",
      )(x)
      x = _activate(self.attention(f"up_{i}_attention")(x))
      x = Conv(self.up_features, dtype=self.dtype, name=f"up_{i}_conv_1")(x)
      x = _activate(x)
    x = Conv(3, wide=True, dtype=self.dtype, name="tail")(x)

    skip = upsample_bilinear(lr, self.scale)
    return self.normalization.leave(x + skip)
