"""Super-resolution of pictures with a backbone and its variables."""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np


@functools.partial(jax.jit, static_argnums=0)
def _super_resolve(module, variables, lr):
  # TF32 would move the printed digits of a benchmark.
  with jax.default_matmul_precision("highest"):
    return jnp.clip(module.apply(variables, lr), 0, 1)


class Upscaler:
  """A backbone with its variables, as a function of pictures.

  Pictures of equal shape share one compiled program.
  """

  def __init__(self, module: nn.Module, variables):
    """Takes a Linen backbone and its variables, `{"params": …}`."""
    self._module = module
    self._variables = variables

  def __call__(self, image: np.ndarray) -> np.ndarray:
    """Upscales one picture or a batch of equal shapes.

    Args:
      image: H×W×3 or N×H×W×3, uint8, or float RGB in [0, 1].

    Returns:
      sH×sW×3 or N×sH×sW×3, clipped to the input's range: uint8, rounded half
      up, for uint8; else float32.

    Raises:
      ValueError: the shape is another.
    """
    image = np.asarray(image)
    if image.ndim not in (3, 4) or image.shape[-1] != 3:
      raise ValueError(
        f"a picture is H×W×3 or N×H×W×3; got shape {image.shape}"
      )
    integer = image.dtype == np.uint8
    lr = image.astype(np.float32) / (255 if integer else 1)
    batch = lr if image.ndim == 4 else lr[None]
    sr = np.asarray(_super_resolve(self._module, self._variables, batch))
    if integer:
      sr = np.floor(sr * 255 + 0.5).astype(np.uint8)
    return sr if image.ndim == 4 else sr[0]
