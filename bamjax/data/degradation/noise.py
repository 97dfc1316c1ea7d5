"""Gaussian and Poisson noise, in colour or gray; results are not clipped."""

import jax
import jax.numpy as jnp
from jax.scipy import special

Number = jax.Array | float
Size = jax.Array | int
# Below this rate counts are found in the distribution's own table.
_FEW = 4.0
_MOST_OF_FEW = 16
# ITU-R BT.601.
_LUMA = (0.299, 0.587, 0.114)


def standard_noise(
  key: jax.Array,
  shape: tuple[int, ...],
  gray: jax.Array | bool = False,
  filled: tuple[Size, Size] | None = None,
) -> jax.Array:
  """Draws the standard normal values that both kinds of noise are made of.

  Args:
    key: of `jax.random`.
    shape: C×H×W.
    gray: whether all channels get those of the first.
    filled: height and width within the array of an image that gets the values
      of an array of just its size, so that images of several sizes share a
      program. None: all of it.

  Returns:
    C×H×W float32; undefined beyond `filled`.
  """
  values = jax.random.normal(key, shape, jnp.float32)
  if filled:
    # A value depends on the key and on its index in memory alone.
    channel, row, column = (jnp.arange(n) for n in shape)
    row = channel[:, None] * filled[0] + row
    at = row[:, :, None] * filled[1] + column
    values = jnp.take(values.ravel(), at, mode="clip")
  return jnp.where(gray, values[:1], values)


def gaussian_noise(
  image: jax.Array, normal: jax.Array, sigma: Number
) -> jax.Array:
  """Adds white Gaussian noise.

  Args:
    image: C×H×W in [0, 1].
    normal: of `standard_noise`.
    sigma: standard deviation in levels of 255.

  Returns:
    C×H×W float32.
  """
  return image + sigma / 255 * normal


def poisson_noise(
  image: jax.Array,
  normal: jax.Array,
  scale: Number = 1.0,
  gray: jax.Array | bool = False,
  *,
  peak: Number = 256.0,
) -> jax.Array:
  """Adds the noise of counted photons, whose variance follows the brightness.

  Args:
    image: 3×H×W, clipped to [0, 1] to find the rates.
    normal: of `standard_noise`, with the same `gray`.
    scale: factor of the noise; 1 is that of a Poisson distribution.
    gray: whether all channels get the same noise, that of the luma.
    peak: expected count of a value of 1.

  Returns:
    3×H×W float32.
  """
  source = jnp.clip(image, 0, 1)
  brightness = sum(w * source[i] for i, w in enumerate(_LUMA))
  rate = peak * jnp.where(gray, brightness, source)
  return image + scale * (poisson(normal, rate) - rate) / peak


def poisson(normal: jax.Array, rate: jax.Array) -> jax.Array:
  """Turns normal values into Poisson's counts, quantile by quantile.

  Rejection, as in `jax.random.poisson`, loops until the last pixel is done.

  Args:
    normal: float32, standard normal.
    rate: float32 of a shape that broadcasts, at least 0.

  Returns:
    float32, whole. At most 0.2 % of them (at rates of 4) differ from the exact
    quantile, by 1.

  Source: Giles, "Algorithm 955: Approximation of the inverse Poisson cumulative
  distribution function", 2016, the normal expansion up to 1/λ.
  """
  large = jnp.maximum(rate, _FEW)
  root, w = jnp.sqrt(large), normal
  expansion = (
    large
    + root * w
    + (1 / 3 + w**2 / 6)
    - (w / 36 + w**3 / 72) / root
    + (w**4 / 270 + 7 * w**2 / 810 - 8 / 405) / large
  )
  small = jnp.minimum(rate, _FEW)
  quantile = special.ndtr(normal)
  chance = total = jnp.exp(-small)
  count = jnp.zeros_like(total)
  for k in range(1, _MOST_OF_FEW + 1):
    count += quantile > total
    chance = chance * (small * (1 / k))
    total += chance
  return jnp.where(rate < _FEW, count, jnp.floor(expansion))
