"""What a backbone is fed: the input convention of its paper or its release."""

import dataclasses

import jax
import jax.numpy as jnp

# Mean RGB of DIV2K in [0, 1], as published with EDSR and used since.
DIV2K_MEAN = (0.4488, 0.4371, 0.4040)


@dataclasses.dataclass(frozen=True)
class Normalization:
  """Maps images in [0, 1] to a backbone's input range and back.

  Inside, an image is gain·x − shift·mean, mean being DIV2K's in [0, 1].

  Attributes:
    gain: factor of the image: 255 for networks fed [0, 255].
    shift: factor of the mean that is subtracted.
  """

  gain: float = 1.0
  shift: float = 0.0

  def enter(self, x: jax.Array) -> jax.Array:
    """RGB in [0, 1], N×H×W×3, to what the first conv sees.

    Raises:
      ValueError: the shape is another, or the values are no floats.
    """
    if x.ndim != 4 or x.shape[-1] != 3:
      raise ValueError(f"a network takes RGB, N×H×W×3; got shape {x.shape}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
      raise ValueError(
        f"a network takes floats in [0, 1]; got {x.dtype}: divide 8 bits by 255"
      )
    if self == Normalization():
      return x
    return self.gain * x - self.shift * jnp.asarray(DIV2K_MEAN, x.dtype)

  def leave(self, x: jax.Array) -> jax.Array:
    """The last conv's output, N×H×W×3, to float32 RGB around [0, 1]."""
    x = x.astype(jnp.float32)
    if self == Normalization():
      return x
    return (x + self.shift * jnp.asarray(DIV2K_MEAN, x.dtype)) / self.gain
