"""What attentions learn of the whole image: means and maxima of channels."""

from flax import linen as nn
import jax
import jax.numpy as jnp

KINDS = ("mean", "max", "deviation")


def _mean(x: jax.Array) -> jax.Array:
  return jnp.mean(x, axis=(1, 2), keepdims=True)


class Pool(nn.Module):
  """Pools over height and width: N×H×W×C to N×1×1×C, once a kind.

  A module without parameters, so that inference in tiles can find it, and put
  the whole image's values in the place of the tile's.

  Attributes:
    kinds: of `KINDS`: the mean (BAM paper, eq. 1), the maximum, and the
      standard deviation (IMDN, eq. 4).
  """

  kinds: tuple[str, ...] = ("mean",)

  def __call__(self, x: jax.Array) -> list[jax.Array]:
    """Pools x, N×H×W×C of floats; an array of its dtype for each of `kinds`.

    What H·W = 0 pixels have is NaN.

    Raises:
      ValueError: x has not four axes, or isn't of floats.
    """
    if x.ndim != 4:
      raise ValueError(f"features are N×H×W×C; got shape {x.shape}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
      raise ValueError(f"features are of floats; got {x.dtype}")
    return [self._pooled(kind, x).astype(x.dtype) for kind in self.kinds]

  def _pooled(self, kind: str, x: jax.Array) -> jax.Array:
    if kind == "max" and 0 not in x.shape[1:3]:
      return jnp.max(x, axis=(1, 2), keepdims=True)
    # Sums in float32 at least: of H·W terms bf16 loses its low digits, and the
    # squares of float16 overflow.
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if kind in ("mean", "max"):
      return _mean(x)
    variance = _mean((x - _mean(x)) ** 2)
    # The root's gradient at a constant channel is infinite; there it is 0.
    flat = variance == 0
    return jnp.where(flat, 0, jnp.sqrt(jnp.where(flat, 1, variance)))
