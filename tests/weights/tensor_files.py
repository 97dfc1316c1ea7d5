"""Small tensors, and files of them, for the tests of reading weights."""

import numpy as np
import pytest
import safetensors.numpy

from bamjax.errors import UserError

TENSORS = {
  "head.0.weight": np.arange(12, dtype=np.float32).reshape(2, 2, 3, 1),
  "head.0.bias": np.float32([0.1, -2.5]),
}


def prefixed(prefix):
  return {f"{prefix}{name}": tensor for name, tensor in TENSORS.items()}


def as_torch(torch, content):
  if isinstance(content, dict):
    return {key: as_torch(torch, value) for key, value in content.items()}
  return torch.tensor(content) if isinstance(content, np.ndarray) else content


def write(path, content):
  if path.suffix == ".npz":
    np.savez(path, **content)
  elif path.suffix == ".safetensors":
    safetensors.numpy.save_file(content, path)
  else:
    torch = pytest.importorskip("torch")
    torch.save(as_torch(torch, content), path)
  return path


def assert_are_the_tensors(tensors):
  assert set(tensors) == set(TENSORS)
  for name, tensor in tensors.items():
    assert type(tensor) is np.ndarray
    assert tensor.dtype == np.float32
    np.testing.assert_array_equal(tensor, TENSORS[name])


def message(function, *args):
  """The UserError's text, which must be one line."""
  with pytest.raises(UserError) as caught:
    function(*args)
  assert "\n" not in str(caught.value)
  return str(caught.value)
