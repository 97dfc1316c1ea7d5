"""SMFANet: self-modulation feature aggregation (Zheng et al., ECCV 2024)."""

import functools
from typing import ClassVar

from flax import linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from bamjax.errors import UserError
from bamjax.layers import Attention
from bamjax.layers import Conv
from bamjax.layers import Normalization
from bamjax.layers import pixel_shuffle
from bamjax.layers import Pool
from bamjax.layers.coarse import CellMax
from bamjax.layers.coarse import Spread
from bamjax.layers.halves import elementwise
from bamjax.models.registry import register

_gelu = functools.partial(nn.gelu, approximate=False)
_activate = functools.partial(elementwise, _gelu)
# Least length of a pixel's channels, so that none is divided by 0.
_LEAST = 1e-12


def _normalized(x: jax.Array) -> jax.Array:
  """Divides each pixel's channels by their Euclidean length."""
  wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  squares = jnp.sum(wide**2, axis=-1, keepdims=True)
  # The maximum inside, because a root's gradient is infinite at 0.
  length = jnp.sqrt(jnp.maximum(squares, _LEAST**2))
  return (wide / length).astype(x.dtype)


class SMFA(nn.Module):
  """Self-modulation feature aggregation (figure 2b).

  One branch modulates features by a map of their maxima in 8×8 pixels and by
  their variance over the image; another has the local detail. Maps N×H×W×C to
  N×H×W×C.
  """

  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array, add: jax.Array) -> jax.Array:
    """Aggregates x, N×H×W×C, and adds `add`, N×H×W×C."""
    features = x.shape[-1]

    def conv(width: int, size: int, name: str, groups: int = 1) -> Conv:
      return Conv(width, size, groups=groups, dtype=self.dtype, name=name)

    both = conv(2 * features, 1, "split")(x)
    detail, x = jnp.split(both, 2, axis=-1)

    pool = CellMax(name="cells")
    cells = conv(features, 3, "coarse", features)(pool(x))
    (variance,) = Pool(("sample_variance",), name="variance")(x)
    alpha = self.param("alpha", nn.initializers.ones, (features,), jnp.float32)
    beta = self.param("beta", nn.initializers.zeros, (features,), jnp.float32)
    alpha, beta, cells = nn.dtypes.promote_dtype(
      alpha, beta, cells, dtype=self.dtype
    )
    gate = conv(features, 1, "gate")(alpha * cells + beta * variance)
    x = x * Spread(pool.grid, name="spread")(_activate(gate), x)

    detail = conv(2 * features, 3, "detail_0", features)(detail)
    detail = _activate(conv(2 * features, 1, "detail_1")(detail))
    x = conv(features, 1, "detail_2")(detail, add=x)
    return conv(features, 1, "fuse")(x, add=add)


class PCFN(nn.Module):
  """Feed-forward network with a partial convolution (figure 2c).

  Maps N×H×W×C to N×H×W×C.

  Attributes:
    growth: channels inside, in multiples of C.
    dtype: dtype of the computation.
  """

  growth: int = 2
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array, add: jax.Array) -> jax.Array:
    """Transforms x, N×H×W×C, and adds `add`, N×H×W×C."""
    features = x.shape[-1]
    wide = self.growth * features
    part = wide // 4
    x = _activate(Conv(wide, 1, dtype=self.dtype, name="enter")(x))
    near, rest = jnp.split(x, [part], axis=-1)
    near = _activate(Conv(part, dtype=self.dtype, name="partial")(near))
    maps = jnp.concatenate([near, rest], axis=-1)
    return Conv(features, 1, dtype=self.dtype, name="leave")(maps, add=add)


class FMB(nn.Module):
  """Feature modulation block: SMFA, PCFN, and an attention (figure 2a).

  Maps N×H×W×C to N×H×W×C.

  Attributes:
    attention: factory of the attention.
    growth: see `PCFN`.
    dtype: dtype of the computation.
  """

  attention: Attention = Attention()
  growth: int = 2
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Refines x, N×H×W×C."""
    x = SMFA(self.dtype, name="smfa")(_normalized(x), add=x)
    x = PCFN(self.growth, self.dtype, name="pcfn")(_normalized(x), add=x)
    return self.attention()(x)


@register("smfanet")
class SMFANet(nn.Module):
  """SMFANet: maps RGB in [0, 1], N×H×W×3, to float32 RGB, N×sH×sW×3.

  The paper has no place for an attention: it stands after each block, and the
  network's own is none. The modulation inside the blocks stays, whatever the
  attention is.

  The defaults are the size "SMFANet+"; SMFANet has 8 blocks of 36 features.

  Attributes:
    scale: s: 2, 3, 4 or 8.
    attention: factory of the attention.
    normalization: input convention.
    blocks: number of feature modulation blocks.
    features: channels.
    growth: channels inside the feed-forward networks, in multiples of
      `features`.
    dtype: dtype of the computation.

  Raises:
    UserError: the feed-forward networks have fewer than 4 channels.
  """

  # Set5 ×2: 0.02 dB (docs/performance.md).
  loses_in_bfloat16: ClassVar[bool] = True

  scale: int = 2
  attention: Attention = Attention()
  normalization: Normalization = Normalization()
  blocks: int = 12
  features: int = 48
  growth: int = 2
  dtype: DTypeLike | None = None

  def __post_init__(self):
    super().__post_init__()
    if (wide := self.growth * self.features) < 4:
      raise UserError(
        f"SMFANet convolves a quarter of {wide} channels, which leaves none:"
        " increase features or growth"
      )

  @nn.compact
  def __call__(self, lr: jax.Array) -> jax.Array:
    """Super-resolves lr, RGB in [0, 1], N×H×W×3."""
    x = self.normalization.enter(lr)
    head = x = Conv(self.features, dtype=self.dtype, name="head")(x)
    for i in range(self.blocks):
      x = FMB(self.attention, self.growth, self.dtype, name=f"block_{i}")(x)
    x = Conv(3 * self.scale**2, wide=True, dtype=self.dtype, name="tail")(
      x + head
    )
    return self.normalization.leave(pixel_shuffle(x, self.scale))
