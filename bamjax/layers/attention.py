"""BAM and the attentions it is compared with, by name.

Each is a Linen module that maps features N×H×W×C to N×H×W×C. The balanced
attention mechanism is that of the paper, eq. 1-5; definitions of the rivals
stand with each. Parameters are made in float32. With `dtype=None` one computes
as Flax's layers do, in the dtype that x and the parameters promote to: bfloat16
features and float32 parameters give float32.

Each sows its weights, in (0, 1), in the collection `intermediates`, where that
is mutable: `channel_weights` (N×1×1×C), `spatial_weights` (N×H×W×1) or
`pixel_weights` (N×H×W×C). `bamjax.attention_maps` reads them.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from bamjax.layers.convolution import Conv
from bamjax.layers.cpu import choice
from bamjax.layers.fields import is_whole
from bamjax.layers.pooling import Pool

Dtype = Any


def channel_max(x: jax.Array) -> jax.Array:
  """Maximum over the channels (paper, eq. 2): N×H×W×C → N×H×W×1."""
  return jnp.max(x, axis=-1, keepdims=True)


def channel_mean(x: jax.Array) -> jax.Array:
  """Mean over the channels: N×H×W×C → N×H×W×1."""
  return jnp.mean(x, axis=-1, keepdims=True)


def promoted(x: jax.Array, dtype: Dtype | None) -> jax.Array:
  """Features in a dtype; None leaves them in theirs, or makes ints float32.

  Raises:
    ValueError: x has not four axes, or no channels.
  """
  if x.ndim != 4 or not x.shape[-1]:
    raise ValueError(f"features are N×H×W×C, C ≥ 1; got shape {x.shape}")
  (x,) = nn.dtypes.promote_dtype(x, dtype=dtype)
  return x


class PReLU(nn.Module):
  """max(0, x) + slope·min(0, x), one learned slope per channel, initially ¼."""

  dtype: Dtype | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Activates x, any shape with channels last."""
    init = nn.initializers.constant(0.25)
    slope = self.param("slope", init, (x.shape[-1],), jnp.float32)
    x, slope = nn.dtypes.promote_dtype(x, slope, dtype=self.dtype)
    return jnp.where(x >= 0, x, slope * x)


def bottleneck(channels: int, reduction: int) -> int:
  """Width of a bottleneck, C/r.

  Raises:
    ValueError: r is no positive integer, or nothing would be left of so few
      channels.
  """
  if not is_whole(reduction):
    raise ValueError(
      f"reduction must be a whole number of at least 1; got {reduction!r}"
    )
  if channels < reduction:
    raise ValueError(
      f"attention with reduction {reduction} needs at least as many"
      f" channels; got {channels}"
    )
  return channels // reduction


class ChannelMLP(nn.Module):
  """Two 1×1 convs, C → C/r → C, with an activation between them.

  Attributes:
    reduction: r.
    use_bias: whether the convs have biases.
    prelu: PReLU between the convs instead of ReLU.
    dtype: dtype of the computation.
  """

  reduction: int = 16
  use_bias: bool = False
  prelu: bool = False
  dtype: Dtype | None = None

  @nn.compact
  def __call__(self, *pooled: jax.Array) -> jax.Array:
    """Returns the sum of the MLP's outputs over inputs of N×1×1×C."""
    channels = pooled[0].shape[-1]
    squeeze = Conv(
      bottleneck(channels, self.reduction),
      1,
      self.use_bias,
      dtype=self.dtype,
      name="squeeze",
    )
    activate = (
      PReLU(self.dtype, name="activation") if self.prelu else jax.nn.relu
    )
    excite = Conv(channels, 1, self.use_bias, dtype=self.dtype, name="excite")
    return sum(excite(activate(squeeze(x))) for x in pooled)


class ACAM(nn.Module):
  """Avgpool channel attention module (paper, eq. 3).

  Attributes:
    reduction: r, the ratio of the MLP's bottleneck.
    max_pool: the MLP also sees the max over H×W, and the two outputs are
      summed before the sigmoid (the paper's ablation).
    weights_only: return the weights, N×1×1×C in (0, 1), not weights · x.
    dtype: dtype of the computation and the result; None promotes those of
      x and the parameters, as Flax does.
  """

  reduction: int = 16
  max_pool: bool = False
  weights_only: bool = False
  dtype: Dtype | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Attends to the channels of x, N×H×W×C."""
    x = promoted(x, self.dtype)
    kinds = ("mean", "max") if self.max_pool else ("mean",)
    pooled = Pool(kinds, name="pool")(x)
    mlp = ChannelMLP(self.reduction, prelu=True, dtype=self.dtype, name="mlp")
    weights = nn.sigmoid(mlp(*pooled))
    if self.weights_only:
      return weights
    self.sow("intermediates", "channel_weights", weights)
    return weights * x


class MSAM(nn.Module):
  """Maxpool spatial attention module (paper, eq. 4).

  Attributes:
    avg_pool: the conv also sees the mean over the channels, before the max
      (the paper's ablation).
    weights_only: return the weights, N×H×W×1 in (0, 1), not weights · x.
    dtype: dtype of the computation and the result; None promotes those of
      x and the parameters, as Flax does.
  """

  avg_pool: bool = False
  weights_only: bool = False
  dtype: Dtype | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Attends to the positions of x, N×H×W×C."""
    x = promoted(x, self.dtype)
    pooled = channel_max(x)
    if self.avg_pool:
      pooled = jnp.concatenate([channel_mean(x), pooled], axis=-1)
    conv = Conv(1, 7, use_bias=False, dtype=self.dtype, name="conv")
    weights = nn.sigmoid(conv(pooled))
    if self.weights_only:
      return weights
    self.sow("intermediates", "spatial_weights", weights)
    return weights * x


class BAM(nn.Module):
  """Balanced attention mechanism: ACAM(F) · MSAM(F) · F (paper, eq. 5).

  Maps N×H×W×C to N×H×W×C. Has 2·C·(C/r) + C/r + 49 parameters.

  Attributes:
    reduction: r; the paper has 16, and 8 for AWSRN and PAN.
    all_pool: both halves see average and max pools (the paper's ablation).
    dtype: dtype of the computation and the result; None promotes those of
      x and the parameters, as Flax does.
  """

  reduction: int = 16
  all_pool: bool = False
  dtype: Dtype | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Attends to x, N×H×W×C.

    Raises:
      ValueError: x has fewer channels than `reduction`.
    """
    x = choice.stored(promoted(x, self.dtype))
    channel = ACAM(self.reduction, self.all_pool, True, self.dtype, name="acam")
    spatial = MSAM(self.all_pool, True, self.dtype, name="msam")
    channel, spatial = channel(x), spatial(x)
    self.sow("intermediates", "channel_weights", channel)
    self.sow("intermediates", "spatial_weights", spatial)
    return channel * spatial * x


class CA(nn.Module):
  """Channel attention of RCAN (Zhang et al. 2018), and its relatives.

  Attributes:
    reduction: ratio of the MLP's bottleneck.
    use_bias: biases in the MLP; without them it is SE (Hu et al. 2018).
    contrast: pool by standard deviation + mean: IMDN's CCA (Hui et al. 2019).
    dtype: dtype of the computation.
  """

  reduction: int = 16
  use_bias: bool = True
  contrast: bool = False
  dtype: Dtype | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Attends to the channels of x, N×H×W×C."""
    x = promoted(x, self.dtype)
    kinds = ("mean", "deviation") if self.contrast else ("mean",)
    pooled = sum(Pool(kinds, name="pool")(x))
    mlp = ChannelMLP(
      self.reduction, self.use_bias, dtype=self.dtype, name="mlp"
    )
    weights = nn.sigmoid(mlp(pooled))
    self.sow("intermediates", "channel_weights", weights)
    return weights * x


class CBAM(nn.Module):
  """Channel, then spatial attention, each on both pools (Woo et al. 2018)."""

  reduction: int = 16
  dtype: Dtype | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Attends to x, N×H×W×C."""
    x = promoted(x, self.dtype)
    mlp = ChannelMLP(self.reduction, dtype=self.dtype, name="mlp")
    channel = nn.sigmoid(mlp(*Pool(("mean", "max"), name="pool")(x)))
    self.sow("intermediates", "channel_weights", channel)
    x = channel * x
    spatial = MSAM(True, weights_only=True, dtype=self.dtype, name="spatial")(x)
    self.sow("intermediates", "spatial_weights", spatial)
    return spatial * x


class PA(nn.Module):
  """Pixel attention of PAN: sigmoid(1×1 conv) · x (Zhao et al. 2020)."""

  dtype: Dtype | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Attends to every value of x, N×H×W×C."""
    x = promoted(x, self.dtype)
    conv = Conv(x.shape[-1], 1, dtype=self.dtype, name="conv")
    weights = nn.sigmoid(conv(x))
    self.sow("intermediates", "pixel_weights", weights)
    return weights * x


class LA(nn.Module):
  """Laplacian attention of DRLN (Anwar & Barnes 2020).

  Three convs, dilated 3, 5 and 7, see the 1×1 map of the channels' means.
  """

  reduction: int = 16
  dtype: Dtype | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Attends to the channels of x, N×H×W×C."""
    x = promoted(x, self.dtype)
    channels = x.shape[-1]
    (pooled,) = Pool(name="pool")(x)
    pyramid = [
      nn.relu(
        Conv(
          bottleneck(channels, self.reduction),
          dilation=dilation,
          dtype=self.dtype,
          name=f"dilated_{dilation}",
        )(pooled)
      )
      for dilation in (3, 5, 7)
    ]
    fuse = Conv(channels, dtype=self.dtype, name="fuse")
    weights = nn.sigmoid(fuse(jnp.concatenate(pyramid, axis=-1)))
    self.sow("intermediates", "channel_weights", weights)
    return weights * x


_KINDS: dict[str, Callable[..., nn.Module]] = {
  "bam": BAM,
  "ca": CA,
  "cca": functools.partial(CA, contrast=True),
  "se": functools.partial(CA, use_bias=False),
  "cbam": CBAM,
  "pa": PA,
  "la": LA,
  "acam": ACAM,
  "msam": MSAM,
  "acam_maxpool": functools.partial(ACAM, max_pool=True),
  "msam_avgpool": functools.partial(MSAM, avg_pool=True),
  "bam_allpool": functools.partial(BAM, all_pool=True),
}
_WITHOUT_REDUCTION = ("pa", "msam", "msam_avgpool")

ATTENTIONS = ("none", *_KINDS)


@dataclasses.dataclass(frozen=True)
class Attention:
  """A factory of attention modules: the constructor argument of a backbone.

  Attributes:
    kind: one of `ATTENTIONS`.
    reduction: ratio of the bottleneck, where the attention has one.
    dtype: dtype of the computation and the result; None promotes those of
      x and the parameters, as Flax does.

  Raises:
    ValueError: the kind is unknown.
  """

  kind: str = "none"
  reduction: int = 16
  dtype: Dtype | None = None

  def __post_init__(self):
    if self.kind not in ATTENTIONS:
      raise ValueError(
        f"unknown attention {self.kind!r}; choose from {', '.join(ATTENTIONS)}"
      )

  def __call__(
    self, name: str = "attention"
  ) -> Callable[[jax.Array], jax.Array]:
    """Makes one module that maps N×H×W×C to N×H×W×C."""
    if self.kind == "none":
      return lambda x: x
    options = (
      {} if self.kind in _WITHOUT_REDUCTION else {"reduction": self.reduction}
    )
    return _KINDS[self.kind](dtype=self.dtype, name=name, **options)
