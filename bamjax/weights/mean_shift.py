"""The 1×1 convs of published networks that subtract and add the mean.

They are constants, which our networks have as `Normalization`. Some releases
meant to freeze them and did not: their trained values differ slightly, and
`Affine` applies them as they are.
"""

from collections.abc import Mapping
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from bamjax.layers import Normalization
from bamjax.layers.normalization import DIV2K_MEAN
from bamjax.weights.names import MEAN_SHIFT

# Relative differences: below the first is rounding, below the second is drift
# in training, and above is another convention.
_ROUNDING = 1e-4
_DRIFT = 0.2

_Matrix = tuple[tuple[float, ...], ...]
_Vector = tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Affine(Normalization):
  """A normalization whose mean-shift layers were trained.

  Inside the network, an image is matrix_in·(gain·x) + offset_in.

  Attributes:
    matrix_in: 3×3, output × input channel; applied before the first conv.
    offset_in: length 3, added to the result.
    matrix_out: 3×3, output × input channel; applied to the last conv's output.
    offset_out: length 3, added to the result.
  """

  matrix_in: _Matrix = ()
  offset_in: _Vector = ()
  matrix_out: _Matrix = ()
  offset_out: _Vector = ()

  def enter(self, x: jax.Array) -> jax.Array:
    """RGB in [0, 1], N×H×W×3, to the input of the first conv."""
    return _affine(self.gain * x, self.matrix_in, self.offset_in)

  def leave(self, x: jax.Array) -> jax.Array:
    """The last conv's output, N×H×W×3, to float32 RGB around [0, 1]."""
    x = _affine(x.astype(jnp.float32), self.matrix_out, self.offset_out)
    return x / self.gain


def _affine(x: jax.Array, matrix: _Matrix, offset: _Vector) -> jax.Array:
  y = jnp.dot(x, jnp.asarray(matrix, x.dtype).T, precision="highest")
  return y + jnp.asarray(offset, x.dtype)


def is_mean_shift(name: str) -> bool:
  """Whether a PyTorch tensor belongs to a mean-shift layer, by its name."""
  return MEAN_SHIFT.fullmatch(name) is not None


def check(
  tensors: Mapping[str, np.ndarray], normalization: Normalization
) -> tuple[Normalization, list[str]]:
  """Compares mean-shift tensors with the normalization that replaces them.

  Args:
    tensors: PyTorch's tensors by name; those of other layers are ignored.
    normalization: the network's input convention. If its shift is 0, the
      network does not apply these layers, and their values don't matter.

  Returns:
    The normalization, with the tensors' own values if they drifted in training;
    and a phrase for each tensor that doesn't match it.
  """
  problems = []
  mean = normalization.shift * np.asarray(DIV2K_MEAN)
  values = {
    ("sub", "weight"): np.eye(3),
    ("add", "weight"): np.eye(3),
    ("sub", "bias"): -mean,
    ("add", "bias"): mean,
  }
  drifted = False
  for name, tensor in tensors.items():
    if not (match := MEAN_SHIFT.fullmatch(name)):
      continue
    key = match[1], match[2]
    shape = (3, 3, 1, 1) if key[1] == "weight" else (3,)
    if tensor.shape != shape:
      problems.append(f"{name} is {tensor.shape}, not {shape}")
      continue
    if normalization.shift == 0:
      continue
    tensor = tensor.reshape(values[key].shape)
    difference = np.max(np.abs(tensor - values[key]))
    size = np.max(np.abs(values[key]))
    if not difference <= _DRIFT * size:  # NaN included
      problems.append(
        f"{name} is {_rounded(tensor)}, not {_rounded(values[key])} as in this"
        " normalization"
      )
    drifted |= bool(difference > _ROUNDING * size)
    values[key] = tensor
  if drifted and not problems:
    normalization = Affine(
      normalization.gain,
      normalization.shift,
      _matrix(values["sub", "weight"]),
      tuple(values["sub", "bias"].tolist()),
      _matrix(values["add", "weight"]),
      tuple(values["add", "bias"].tolist()),
    )
  return normalization, problems


def _matrix(values: np.ndarray) -> _Matrix:
  return tuple(tuple(row) for row in values.tolist())


def _rounded(tensor: np.ndarray) -> list[float]:
  return np.round(np.float64(tensor).ravel(), 4).tolist()
