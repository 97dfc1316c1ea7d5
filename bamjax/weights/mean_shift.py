"""The 1×1 convs that subtract and add the mean in published networks.

They are constants, so that our networks hold them as `Normalization`. Some
releases meant to freeze them and did not: their trained values differ a little,
and `Affine` runs them as they are.
"""

from collections.abc import Mapping
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from bamjax.layers import Normalization
from bamjax.layers.normalization import DIV2K_MEAN
from bamjax.weights.names import MEAN_SHIFT

# Relative differences: up to the first, rounding; up to the second, drift.
_ROUNDING = 1e-4
_DRIFT = 0.2

_Matrix = tuple[tuple[float, ...], ...]
_Vector = tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Affine(Normalization):
  """A normalization whose mean-shift layers were trained along.

  Inside, an image is matrix_in·(gain·x) + offset_in.

  Attributes:
    matrix_in: 3×3, output × input channel.
    offset_in: what is added before the first conv.
    matrix_out: 3×3, applied to the last conv's output.
    offset_out: what is added then.
  """

  matrix_in: _Matrix = ()
  offset_in: _Vector = ()
  matrix_out: _Matrix = ()
  offset_out: _Vector = ()

  def enter(self, x: jax.Array) -> jax.Array:
    """RGB in [0, 1], N×H×W×3, to what the first conv sees."""
    return _affine(self.gain * x, self.matrix_in, self.offset_in)

  def leave(self, x: jax.Array) -> jax.Array:
    """The last conv's output, N×H×W×3, to float32 RGB around [0, 1]."""
    x = _affine(x.astype(jnp.float32), self.matrix_out, self.offset_out)
    return x / self.gain


def _affine(x: jax.Array, matrix: _Matrix, offset: _Vector) -> jax.Array:
  y = jnp.dot(x, jnp.asarray(matrix, x.dtype).T, precision="highest")
  return y + jnp.asarray(offset, x.dtype)


def is_mean_shift(name: str) -> bool:
  """Whether a PyTorch tensor belongs to a mean-shift layer."""
  return MEAN_SHIFT.fullmatch(name) is not None


def check(
  tensors: Mapping[str, np.ndarray], normalization: Normalization
) -> tuple[Normalization, list[str]]:
  """Compares mean-shift tensors with the normalization that stands for them.

  Args:
    tensors: PyTorch's tensors by name; those of other layers are skipped.
    normalization: what the network is to be fed.

  Returns:
    The normalization, or the one with the tensors' own values where these have
    drifted in training, and what is wrong with them, a phrase a tensor. Values
    in a network whose form doesn't run these layers (shift = 0) may be any.
  """
  problems = []
  values = {
    ("sub", "weight"): np.eye(3),
    ("add", "weight"): np.eye(3),
    ("sub", "bias"): -normalization.shift * np.asarray(DIV2K_MEAN),
    ("add", "bias"): normalization.shift * np.asarray(DIV2K_MEAN),
  }
  drifted = False
  for name, tensor in tensors.items():
    if not (match := MEAN_SHIFT.fullmatch(name)):
      continue
    key = match.groups()
    shape = (3, 3, 1, 1) if key[1] == "weight" else (3,)
    if tensor.shape != shape:
      problems.append(f"{name} is {tensor.shape}, not {shape}")
      continue
    if normalization.shift == 0:
      continue
    tensor = tensor.reshape(values[key].shape)
    difference = np.max(np.abs(tensor - values[key]))
    size = np.max(np.abs(values[key]))
    if not difference <= _DRIFT * size:
      problems.append(
        f"{name} holds {_rounded(tensor)} where this normalization has"
        f" {_rounded(values[key])}"
      )
    drifted |= bool(difference > _ROUNDING * size)
    values[key] = tensor
  if drifted and not problems:
    normalization = Affine(
      normalization.gain,
      normalization.shift,
      *(
        tuple(map(tuple, values[side, "weight"].tolist()))
        if kind == "weight"
        else tuple(values[side, "bias"].tolist())
        for side in ("sub", "add")
        for kind in ("weight", "bias")
      ),
    )
  return normalization, problems


def _rounded(tensor: np.ndarray) -> list[float]:
  return np.round(np.float64(tensor).ravel(), 4).tolist()
