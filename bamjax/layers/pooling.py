"""Pooling over the whole image, for attentions."""

from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

KINDS = ("mean", "max", "deviation", "sample_variance")


def _mean(x: jax.Array) -> jax.Array:
  return jnp.mean(x, axis=(1, 2), keepdims=True)


def unbiased(variance: Any, count: Any) -> jax.Array:
  """Estimates the variance of what `count` values are a sample of.

  Args:
    variance: of the values themselves.
    count: one value alone is taken to have no variance.
  """
  count = jnp.asarray(count, jnp.float32)
  return variance * (count / jnp.maximum(count - 1, 1))


class Pool(nn.Module):
  """Pools over height and width: N×H×W×C to one N×1×1×C for each kind.

  It is a module, though it has no parameters, so that tiled inference can
  intercept it and return the pools of the whole image.

  Attributes:
    kinds: any of `KINDS`: the mean (BAM paper, eq. 1), the maximum, the
      population standard deviation (IMDN, eq. 4), and the variance of a sample,
      with one less in the divisor (SMFANet).
  """

  kinds: tuple[str, ...] = ("mean",)

  def __call__(self, x: jax.Array) -> list[jax.Array]:
    """Pools x, N×H×W×C, floating.

    Returns:
      An array N×1×1×C for each of `kinds`, of x's dtype; NaN if H·W = 0.

    Raises:
      ValueError: x does not have four axes, or is not floating.
    """
    if x.ndim != 4:
      raise ValueError(f"features must be N×H×W×C; got shape {x.shape}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
      raise ValueError(f"features must be floating; got {x.dtype}")
    return [self._pooled(kind, x).astype(x.dtype) for kind in self.kinds]

  def _pooled(self, kind: str, x: jax.Array) -> jax.Array:
    if kind == "max" and 0 not in x.shape[1:3]:
      return jnp.max(x, axis=(1, 2), keepdims=True)
    # In float32 at least: a sum of H·W terms loses digits in bfloat16, and
    # squares overflow in float16.
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if kind in ("mean", "max"):
      return _mean(x)
    variance = _mean((x - _mean(x)) ** 2)
    if kind == "sample_variance":
      return unbiased(variance, x.shape[1] * x.shape[2])
    # The square root's gradient would be infinite at 0, in constant channels;
    # here it is 0.
    flat = variance == 0
    return jnp.where(flat, 0, jnp.sqrt(jnp.where(flat, 1, variance)))
