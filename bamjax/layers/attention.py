"""BAM and the attentions that it is compared with.

Each is a Linen module that maps features N×H×W×C to features of the same shape.
"The paper" is Wang et al. 2021, "BAM: a balanced attention mechanism for single
image super resolution", arXiv:2104.07566; the docstrings of the other
attentions name theirs.

Parameters are float32. With `dtype=None`, modules compute in the dtype that x
and the parameters promote to, like Flax's layers: bfloat16 features and float32
parameters give float32.

If the collection `intermediates` is mutable, each module sows its weights, in
(0, 1): `channel_weights` (N×1×1×C), `spatial_weights` (N×H×W×1) or
`pixel_weights` (N×H×W×C). `bamjax.attention_maps` returns them.
"""

from collections.abc import Callable
import dataclasses
import functools
import operator

from flax import linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from bamjax.layers import halves
from bamjax.layers.coarse import Aligned
from bamjax.layers.coarse import max_pool
from bamjax.layers.coarse import Spread
from bamjax.layers.convolution import BSConv
from bamjax.layers.convolution import Conv
from bamjax.layers.cpu import choice
from bamjax.layers.fields import is_whole
from bamjax.layers.pooling import Pool


def channel_max(x: jax.Array) -> jax.Array:
  """Maximum over the channels (paper, eq. 2): N×H×W×C → N×H×W×1."""
  return jnp.max(x, axis=-1, keepdims=True)


def channel_mean(x: jax.Array) -> jax.Array:
  """Mean over the channels: N×H×W×C → N×H×W×1."""
  return jnp.mean(x, axis=-1, keepdims=True)


def _product(*factors: jax.Array) -> jax.Array:
  return functools.reduce(operator.mul, factors)


def promoted(x: jax.Array, dtype: DTypeLike | None) -> jax.Array:
  """Converts features to a dtype.

  Args:
    x: N×H×W×C, C ≥ 1.
    dtype: None keeps floating dtypes and makes float32 of integers.

  Raises:
    ValueError: x does not have four axes, or has no channels.
  """
  if x.ndim != 4 or not x.shape[-1]:
    raise ValueError(f"features must be N×H×W×C, C ≥ 1; got shape {x.shape}")
  (x,) = halves.promote(x, dtype=dtype)
  return x


class PReLU(nn.Module):
  """max(0, x) + slope·min(0, x), one learned slope per channel, initially ¼."""

  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Activates x, any shape with channels last."""
    init = nn.initializers.constant(0.25)
    slope = self.param("slope", init, (x.shape[-1],), jnp.float32)
    x, slope = halves.promote(x, slope, dtype=self.dtype)
    return halves.elementwise(
      lambda x, slope: jnp.where(x >= 0, x, slope * x), x, slope
    )


def bottleneck(channels: int, reduction: int) -> int:
  """Returns the channels of a bottleneck, ⌊C/r⌋.

  Raises:
    ValueError: r is not a positive integer, or is larger than C.
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
  """Two 1×1 convolutions, C → C/r → C, with an activation between them.

  Attributes:
    reduction: the ratio r.
    use_bias: whether the convolutions have biases.
    prelu: whether the activation is a PReLU instead of a ReLU.
    dtype: dtype of the computation.
  """

  reduction: int = 16
  use_bias: bool = False
  prelu: bool = False
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, *pooled: jax.Array) -> jax.Array:
    """Returns the sum of the outputs, N×1×1×C, for inputs N×1×1×C."""
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
    outputs = [excite(activate(squeeze(x))) for x in pooled]
    return sum(outputs[1:], start=outputs[0])


class ACAM(nn.Module):
  """Avgpool channel attention module of BAM (paper, eq. 3).

    ACAM(x) = σ(W₂ · PReLU(W₁ · mean of x over H×W))

  W₁: C → C/r and W₂: C/r → C have no biases; the PReLU has one slope per
  channel. Has 2·C·(C/r) + C/r parameters.

  Attributes:
    reduction: the ratio r.
    max_pool: add the MLP's output for the maximum over H×W before the sigmoid
      (the paper's ablation).
    weights_only: return ACAM(x), N×1×1×C in (0, 1), instead of ACAM(x) · x.
    dtype: dtype of the computation and the result; None promotes x and the
      parameters.
  """

  reduction: int = 16
  max_pool: bool = False
  weights_only: bool = False
  dtype: DTypeLike | None = None

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
    return halves.elementwise(_product, weights, x)


class MSAM(nn.Module):
  """Maxpool spatial attention module of BAM (paper, eq. 4).

    MSAM(x) = σ(7×7 convolution of the maximum of x over C)

  The convolution has zero padding and no bias: 49 parameters.

  Attributes:
    avg_pool: convolve the mean over C, too, as a first channel (the paper's
      ablation).
    weights_only: return MSAM(x), N×H×W×1 in (0, 1), instead of MSAM(x) · x.
    dtype: dtype of the computation and the result; None promotes x and the
      parameters.
  """

  avg_pool: bool = False
  weights_only: bool = False
  dtype: DTypeLike | None = None

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
    return halves.elementwise(_product, weights, x)


class BAM(nn.Module):
  """Balanced attention mechanism: channel and spatial attention in parallel.

  For features F, N×H×W×C::

    ACAM(F) = σ(W₂ · PReLU(W₁ · mean of F over H×W))    N×1×1×C    (eq. 1, 3)
    MSAM(F) = σ(conv 7×7 of the maximum of F over C)    N×H×W×1    (eq. 2, 4)
    BAM(F)  = ACAM(F) · MSAM(F) · F                     N×H×W×C    (eq. 5)

  W₁: C → C/r and W₂: C/r → C are 1×1 convolutions. ACAM suppresses extreme
  noise, and MSAM preserves texture. They are parallel: neither sees the other's
  output.

  No convolution has a bias. The PReLU has one slope per channel, initially ¼.
  In total: 2·C·(C/r) + C/r + 49 parameters, 565 for C = 64 and r = 16. In
  any Flax program::

    bam = BAM(reduction=16)
    variables = bam.init(jax.random.key(0), features)
    attended = bam.apply(variables, features)  # the shape of features

  Attributes:
    reduction: r; 16 in the paper, but 8 for AWSRN and PAN. At most C.
    all_pool: use the mean and the maximum in both (the paper's ablation).
    dtype: dtype of the computation and the result; None promotes F and the
      parameters, which are float32.

  Source: the paper, section "Proposed method", figure 2.
  """

  reduction: int = 16
  all_pool: bool = False
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Attends to x, N×H×W×C.

    Raises:
      ValueError: x does not have four axes, or has fewer channels than
        `reduction`.
    """
    x = choice.materialized(promoted(x, self.dtype))
    acam = ACAM(self.reduction, self.all_pool, True, self.dtype, name="acam")
    msam = MSAM(self.all_pool, True, self.dtype, name="msam")
    channel, spatial = acam(x), msam(x)
    self.sow("intermediates", "channel_weights", channel)
    self.sow("intermediates", "spatial_weights", spatial)
    return halves.elementwise(_product, channel, spatial, x)


class CA(nn.Module):
  """Channel attention: σ(W₂ · ReLU(W₁ · pool of x over H×W)) · x.

  RCAN's CA (Zhang et al. 2018, section 3.3), and with options SE and CCA.

  Attributes:
    reduction: r; W₁: C → C/r and W₂: C/r → C.
    use_bias: whether W₁ and W₂ have biases; SE has none (Hu et al. 2018).
    contrast: pool standard deviation + mean instead of the mean: IMDN's CCA
      (Hui et al. 2019, eq. 4).
    weights_only: return the weights, N×1×1×C in (0, 1), instead of weights · x.
    dtype: dtype of the computation and the result.
  """

  reduction: int = 16
  use_bias: bool = True
  contrast: bool = False
  weights_only: bool = False
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Attends to the channels of x, N×H×W×C."""
    x = promoted(x, self.dtype)
    kinds = ("mean", "deviation") if self.contrast else ("mean",)
    pools = Pool(kinds, name="pool")(x)
    pooled = sum(pools[1:], start=pools[0])
    mlp = ChannelMLP(
      self.reduction, self.use_bias, dtype=self.dtype, name="mlp"
    )
    weights = nn.sigmoid(mlp(pooled))
    if self.weights_only:
      return weights
    self.sow("intermediates", "channel_weights", weights)
    return halves.elementwise(_product, weights, x)


class CBAM(nn.Module):
  """Channel, then spatial attention, both on mean and maximum.

  Source: Woo et al. 2018, eq. 1-3.

  Attributes:
    reduction: ratio of the channel MLP's bottleneck.
    dtype: dtype of the computation and the result.
  """

  reduction: int = 16
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Attends to x, N×H×W×C."""
    x = promoted(x, self.dtype)
    mlp = ChannelMLP(self.reduction, dtype=self.dtype, name="mlp")
    channel = nn.sigmoid(mlp(*Pool(("mean", "max"), name="pool")(x)))
    self.sow("intermediates", "channel_weights", channel)
    x = halves.elementwise(_product, channel, x)
    spatial = MSAM(True, weights_only=True, dtype=self.dtype, name="spatial")(x)
    self.sow("intermediates", "spatial_weights", spatial)
    return halves.elementwise(_product, spatial, x)


class PA(nn.Module):
  """Pixel attention of PAN: σ(1×1 convolution of x) · x (Zhao et al. 2020).

  Attributes:
    dtype: dtype of the computation and the result.
  """

  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Attends to every value of x, N×H×W×C."""
    x = promoted(x, self.dtype)
    conv = Conv(x.shape[-1], 1, sigmoid=True, dtype=self.dtype, name="conv")
    weights = conv(x)
    self.sow("intermediates", "pixel_weights", weights)
    return halves.elementwise(_product, weights, x)


class LA(nn.Module):
  """Laplacian attention of DRLN (Anwar & Barnes 2020).

  Three 3×3 convolutions, dilated by 3, 5 and 7, of the channels' means, which
  are a map of 1×1 pixels, are fused to the weights of the channels.

  Attributes:
    reduction: ratio of the convolutions' bottleneck.
    dtype: dtype of the computation and the result.
  """

  reduction: int = 16
  dtype: DTypeLike | None = None

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
    return halves.elementwise(_product, weights, x)


class ESA(nn.Module):
  """Weights of enhanced spatial attention: σ(W · (coarse map + V · features)).

  The coarse map has a value for every 6 pixels in both directions, of features
  with a quarter of the channels: a strided convolution, a maximum and three
  convolutions, enlarged to the image.

  Source: Liu et al. 2020, "Residual feature distillation network", with BSRN's
  separable convolutions and GELU (Li et al. 2022, figure 3c).

  Attributes:
    dtype: dtype of the computation and the result.
  """

  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Returns weights in (0, 1) of the values of x, N×H×W×C, C ≥ 4."""
    x = promoted(x, self.dtype)
    features = bottleneck(x.shape[-1], 4)

    def conv(width: int, name: str) -> Conv:
      return Conv(width, 1, dtype=self.dtype, name=name)

    def separable(name: str, stride: int = 1) -> BSConv:
      return BSConv(features, stride, dtype=self.dtype, name=name)

    fine = conv(features, "narrow")(x)
    # The maximum of 7×7 values in steps of 3, which are 2 pixels apart.
    align = Aligned(pitch=6, seen=15, name="align")
    y = separable("stride", stride=2)(align(fine))
    y = _activate(separable("coarse_0")(max_pool(y, 7, 3)))
    y = _activate(separable("coarse_1")(y))
    y = separable("coarse_2")(y)
    y = Spread(align.grid, bilinear=True, name="spread")(y, fine)
    y = conv(features, "fine")(fine, add=y)
    widen = Conv(x.shape[-1], 1, sigmoid=True, dtype=self.dtype, name="widen")
    return widen(y)


def _activate(x: jax.Array) -> jax.Array:
  return halves.elementwise(lambda x: nn.gelu(x, approximate=False), x)


class ESACCA(nn.Module):
  """BSRN's attention: ESA(x) · x, then CCA (Li et al. 2022, figure 3a).

  Attributes:
    reduction: ratio of CCA's bottleneck.
    dtype: dtype of the computation and the result.
  """

  reduction: int = 16
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Attends to x, N×H×W×C, C ≥ 4."""
    x = promoted(x, self.dtype)
    pixel = ESA(self.dtype, name="esa")(x)
    self.sow("intermediates", "pixel_weights", pixel)
    x = halves.elementwise(_product, pixel, x)
    cca = CA(*(self.reduction, True, True, True), dtype=self.dtype, name="cca")
    channel = cca(x)
    self.sow("intermediates", "channel_weights", channel)
    return halves.elementwise(_product, channel, x)


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
  "esa_cca": ESACCA,
}
_WITHOUT_REDUCTION = ("pa", "msam", "msam_avgpool")

ATTENTIONS = ("none", *_KINDS)


@dataclasses.dataclass(frozen=True)
class Attention:
  """A factory of attention modules, which backbones take as an argument.

  Attributes:
    kind: one of `ATTENTIONS`.
    reduction: ratio of the bottleneck; unused by attentions without one.
    dtype: dtype of the computation and the result; None promotes x and the
      parameters.

  Raises:
    ValueError: the kind is unknown.
  """

  kind: str = "none"
  reduction: int = 16
  dtype: DTypeLike | None = None

  def __post_init__(self):
    if self.kind not in ATTENTIONS:
      raise ValueError(
        f"unknown attention {self.kind!r}; choose from {', '.join(ATTENTIONS)}"
      )

  def __call__(
    self, name: str = "attention"
  ) -> Callable[[jax.Array], jax.Array]:
    """Makes one module, or the identity for "none": N×H×W×C to N×H×W×C."""
    if self.kind == "none":
      return lambda x: x
    options = (
      {} if self.kind in _WITHOUT_REDUCTION else {"reduction": self.reduction}
    )
    return _KINDS[self.kind](dtype=self.dtype, name=name, **options)
