"""Input conventions of backbones: the paper's or the official release's."""

import dataclasses

import jax
import jax.numpy as jnp

# Mean RGB of DIV2K in [0, 1], as published with EDSR.
DIV2K_MEAN = (0.4488, 0.4371, 0.4040)


@dataclasses.dataclass(frozen=True)
class Normalization:
  """Maps images in [0, 1] to the input range of a backbone, and back.

  The backbone sees gain·x − shift·mean, where mean is `DIV2K_MEAN`.

  Attributes:
    gain: factor of the image; 255 for networks that take [0, 255].
    shift: factor of the subtracted mean.
  """

  gain: float = 1.0
  shift: float = 0.0

  def enter(self, x: jax.Array) -> jax.Array:
    """Converts RGB in [0, 1], N×H×W×3, to the input of the first convolution.

    Raises:
      ValueError: x is not N×H×W×3, or not floating.
    """
    if x.ndim != 4 or x.shape[-1] != 3:
      raise ValueError(f"networks take RGB, N×H×W×3; got shape {x.shape}")
    if not jnp.issubdtype(x.dtype, jnp.floating):
      raise ValueError(
        f"networks take floats in [0, 1]; got {x.dtype}: divide uint8 by 255"
      )
    if self == Normalization():
      return x
    return self.gain * x - self.shift * jnp.asarray(DIV2K_MEAN, x.dtype)

  def leave(self, x: jax.Array) -> jax.Array:
    """Converts the last convolution's output, N×H×W×3, to float32 RGB.

    Values are around [0, 1], not clipped.
    """
    x = x.astype(jnp.float32)
    if self == Normalization():
      return x
    return (x + self.shift * jnp.asarray(DIV2K_MEAN, x.dtype)) / self.gain
