"""Outputs of reference PyTorch networks, and the rule that draws weights.

`goldens.npz` contains, for each network, its name and hyper-parameters, names
and shapes of its PyTorch tensors, and 64 values of its output. Run as a script
with the folder of the full goldens, this module writes that file:

    python tests/weights/goldens.py ../shared/goldens
"""

import json
from pathlib import Path
import sys
import zlib

import numpy as np

FILE = Path(__file__).with_suffix(".npz")
SAMPLES = 64
_MEAN = np.float32([0.4488, 0.4371, 0.4040])


def weight(name, shape, seed):
  """Draws the tensor of this name by the goldens' rule."""
  rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
  z = rng.standard_normal(shape)
  leaf = name.rsplit(".", 1)[-1]
  if leaf == "weight_g":
    w = 0.5 + 0.1 * abs(z)
  elif len(shape) == 4:
    w = 0.7 * z / np.sqrt(np.prod(shape[1:]))
  elif leaf == "bias":
    w = 0.05 * z
  elif leaf == "scale":
    w = 0.5 + 0.1 * z
  else:
    w = 0.25 + 0.05 * z
  return w.astype(np.float32)


def mean_shift(name, model):
  """A tensor of a frozen mean-shift layer."""
  if name.endswith("weight"):
    return np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
  factor = 1 if model in ("carn", "carn_m", "drln") else 255
  return (-factor if name.startswith("sub") else factor) * _MEAN


def tensor(name, shape, model, seed):
  """A tensor of a network: drawn, or of its fixed mean-shift layers."""
  if name.startswith(("sub_mean", "add_mean")):
    return mean_shift(name, model)
  return weight(name, shape, seed)


def image(seed, height, width):
  """RGB in [0, 1], 1×height×width×3, by the goldens' rule."""
  rng = np.random.default_rng([seed, 7])
  base = rng.random((1, height // 4 + 2, width // 4 + 2, 3))
  up = np.kron(base, np.ones((1, 4, 4, 1)))[:, :height, :width]
  return (0.7 * up + 0.3 * rng.random((1, height, width, 3))).astype(np.float32)


def sample(output):
  """SAMPLES values, evenly spaced over an output."""
  places = np.linspace(0, output.size - 1, SAMPLES).astype(int)
  return np.ravel(output)[places]


class Goldens:
  """Compact goldens from `goldens.npz` or a file of the same format.

  Attributes:
    cases: for each network, by key: model, attn, variant, scale, …
    outputs: the `sample` of its output, by key.
  """

  def __init__(self, file=FILE):
    with np.load(file) as arrays:
      text = zlib.decompress(arrays["description"].tobytes())
      outputs = arrays["outputs"]
    description = json.loads(text)
    self.cases = description["cases"]
    self._shapes = description["state_dicts"]
    self.outputs = dict(zip(self.cases, outputs, strict=True))

  def shapes(self, key):
    """Shapes of a network's PyTorch tensors, by name."""
    listed = self._shapes[self.cases[key]["state_dict"]]
    return {name: tuple(shape) for name, shape in listed}

  def state_dict(self, key):
    """PyTorch's tensors of a network."""
    case = self.cases[key]
    return {
      name: tensor(name, shape, case["model"], case["seed"])
      for name, shape in self.shapes(key).items()
    }

  def input(self, key):
    """The network's input."""
    case = self.cases[key]
    return image(case["input_seed"], *case["input_shape"][1:3])


def write(file, description, outputs):
  """Writes compact goldens: their description, and a sample of each output."""
  packed = zlib.compress(json.dumps(description).encode(), 9)
  np.savez(
    file,
    description=np.frombuffer(packed, np.uint8),
    outputs=np.float32(outputs),
  )


def main(folder):
  """Writes the compact goldens from the full ones."""
  folder = Path(folder)
  description = json.loads((folder / "forward.json").read_text())
  with np.load(folder / "forward.npz") as full:
    outputs = [sample(full[key]) for key in description["cases"]]
  write(FILE, description, outputs)


if __name__ == "__main__":
  main(sys.argv[1])
