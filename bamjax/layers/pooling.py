"""What attentions learn of the whole picture: means and maxima of channels."""

from flax import linen as nn
import jax
import jax.numpy as jnp

KINDS = ("mean", "max", "deviation")


def _mean(x: jax.Array) -> jax.Array:
  # Summed in float32: a bf16 sum over H·W terms loses its low digits.
  return jnp.mean(x, axis=(1, 2), keepdims=True, dtype=jnp.float32).astype(
    x.dtype
  )


class Pool(nn.Module):
  """Pools over height and width: N×H×W×C to N×1×1×C, once a kind.

  A module without parameters, so that inference in tiles can find it, and put
  the whole picture's values in the place of the tile's.

  Attributes:
    kinds: of `KINDS`: the mean (BAM paper, eq. 1), the maximum, and the
      standard deviation (IMDN, eq. 4).
  """

  kinds: tuple[str, ...] = ("mean",)

  def __call__(self, x: jax.Array) -> list[jax.Array]:
    """Pools x, N×H×W×C; an array for each of `kinds`, of x's dtype.

    Raises:
      ValueError: x has not four axes.
    """
    if x.ndim != 4:
      raise ValueError(f"features are N×H×W×C; got shape {x.shape}")
    return [self._pooled(kind, x) for kind in self.kinds]

  def _pooled(self, kind: str, x: jax.Array) -> jax.Array:
    if kind == "mean":
      return _mean(x)
    if kind == "max":
      return jnp.max(x, axis=(1, 2), keepdims=True)
    variance = _mean((x - _mean(x)) ** 2)
    # The root's gradient at a constant channel is infinite; there it is 0.
    flat = variance == 0
    return jnp.where(flat, 0, jnp.sqrt(jnp.where(flat, 1, variance)))
