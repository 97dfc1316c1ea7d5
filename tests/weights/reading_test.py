"""Files and mappings of tensors become float32 arrays."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

from bamjax.weights import read_network
from bamjax.weights import reading
from weights.tensor_files import as_torch
from weights.tensor_files import assert_are_the_tensors
from weights.tensor_files import message
from weights.tensor_files import TENSORS
from weights.tensor_files import write


@pytest.mark.parametrize("suffix", [*reading.SUFFIXES, ".NPZ"])
@pytest.mark.parametrize("as_string", [False, True])
def test_every_suffix_is_read(tmp_path, suffix, as_string):
  path = write(tmp_path / f"weights{suffix.lower()}", TENSORS)
  path = path.rename(path.with_suffix(suffix))
  content = reading.read(str(path) if as_string else path)
  assert_are_the_tensors(reading.unwrap(content))


@pytest.mark.parametrize("kind", ["zip", "legacy", ".npz", ".safetensors"])
def test_the_format_is_detected_from_the_content(tmp_path, kind):
  if kind in reading.SUFFIXES:
    path = write(tmp_path / f"a{kind}", TENSORS)
  else:
    torch, path = pytest.importorskip("torch"), tmp_path / "a"
    zipped = {"_use_new_zipfile_serialization": kind == "zip"}
    torch.save(as_torch(torch, TENSORS), path, **zipped)
  for name in ("a.safetensors", "a.npz", "a.pth", "a.tar", "a"):
    path = path.rename(tmp_path / name)
    assert_are_the_tensors(reading.unwrap(reading.read(path)))


def test_torch_files_from_before_2020_are_read(tmp_path, torch):
  path = tmp_path / "old.pth"
  content = as_torch(torch, TENSORS)
  torch.save(content, path, _use_new_zipfile_serialization=False)
  assert_are_the_tensors(reading.unwrap(reading.read(path)))


@pytest.mark.parametrize("suffix", [".pth", ".PT"])
def test_without_torch_the_error_says_how_to_install_it(
  tmp_path, monkeypatch, suffix
):
  path = tmp_path / f"weights{suffix}"
  path.write_bytes(b"\x80\x02}.")
  monkeypatch.setitem(sys.modules, "torch", None)
  text = message(read_network, path)
  assert str(path) in text
  assert 'pip install "' in text and '[torch]"' in text


def test_a_missing_package_is_no_damaged_file(tmp_path, monkeypatch):
  path = write(tmp_path / "a.safetensors", TENSORS)
  monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
  text = message(reading.read, path)
  assert text.startswith(f"{path}: cannot be read: ")
  assert "safetensors.numpy" in text


def test_other_files_do_not_need_torch(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "torch", None)
  for name in ("weights.npz", "weights.safetensors"):
    path = write(tmp_path / name, TENSORS)
    assert_are_the_tensors(reading.unwrap(reading.read(path)))


@pytest.mark.parametrize(
  "name", ["a.bin", "a", "a.pth.tar", "a.ckpt", "a.SAFETENSORS", "a.npz"]
)
@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_the_name_does_not_matter(tmp_path, name, suffix):
  assert message(reading.read, tmp_path / name) == (
    f"{tmp_path / name}: no such file"
  )
  path = write(tmp_path / f"b{suffix}", TENSORS).rename(tmp_path / name)
  assert_are_the_tensors(reading.unwrap(reading.read(path)))


@pytest.mark.parametrize("kind", ["sparse", "meta"])
def test_tensors_without_dense_data_are_named(torch, kind):
  tensor = torch.ones(3)
  tensor = tensor.to_sparse() if kind == "sparse" else tensor.to("meta")
  assert "odd is " in message(reading.unwrap, {"odd": tensor})


@pytest.mark.parametrize(
  "key, value, named",
  [
    ("optimizer", {"state": {}}, "optimizer is a dict"),
    ("name", "edsr", "name is a str"),
    ("nothing", None, "nothing is a NoneType"),
    ("ragged", [[1.0], [1.0, 2.0]], "ragged is a list"),
    ("wave", np.ones(3, np.complex64), "wave is a ndarray"),
    ("when", np.array(["2020"], "datetime64[D]"), "when is a ndarray"),
    (3, np.ones(3), "3 is not the name of a tensor"),
  ],
)
def test_entries_that_are_not_tensors_are_named(key, value, named):
  assert named in message(read_network, {**TENSORS, key: value})


def test_errors_of_a_files_content_name_the_file(tmp_path, torch):
  path = tmp_path / "weights.pth"
  content = as_torch(torch, TENSORS)
  torch.save({**content, "optimizer": {"lr": 0.1}}, path)
  text = message(read_network, path)
  assert text.startswith(f"{path}: optimizer is a dict")
  torch.save(content, path)
  assert message(read_network, path).startswith(f"{path}: ")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("kind", ["torch", "parameter", "jax", "numpy", "file"])
def test_every_float_becomes_float32(tmp_path, kind, dtype):
  rounded = {
    name: np.asarray(jnp.asarray(tensor, dtype).astype(np.float32))
    for name, tensor in TENSORS.items()
    if dtype != "float64"
  } or TENSORS
  if kind in ("torch", "parameter"):
    torch = pytest.importorskip("torch")
    content = as_torch(torch, TENSORS)
    content = {n: t.to(getattr(torch, dtype)) for n, t in content.items()}
    if kind == "parameter":
      content = {n: torch.nn.Parameter(t) for n, t in content.items()}
  elif kind == "jax":
    if dtype == "float64":
      pytest.skip("JAX has no float64 by default")
    content = {n: jnp.asarray(t, dtype) for n, t in TENSORS.items()}
  else:
    kind_of = jnp.bfloat16 if dtype == "bfloat16" else dtype
    content = {n: t.astype(kind_of) for n, t in TENSORS.items()}
  if kind == "file":
    content = reading.read(write(tmp_path / "weights.safetensors", content))
  for name, tensor in reading.unwrap(content).items():
    assert type(tensor) is np.ndarray
    assert tensor.dtype == np.float32
    np.testing.assert_array_equal(tensor, rounded[name])


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["int8", "int64", "uint8", "bool"])
def test_integers_and_booleans_are_not_weights(kind, dtype):
  tensor = np.ones(3, dtype)
  if kind == "torch":
    tensor = pytest.importorskip("torch").tensor(tensor)
  text = message(read_network, {**TENSORS, "odd": tensor})
  assert text.startswith(f"odd holds {dtype}, not floating-point numbers")


def test_values_that_are_not_finite_are_named():
  odd = {
    "a": np.float32([1, np.nan]),
    "b": np.float16([np.inf]),
    "c": np.float64([1e300]),  # infinite in float32
    **{f"d{i}": np.float32([-np.inf]) for i in range(7)},
  }
  text = message(read_network, {**TENSORS, **odd})
  assert text.startswith("NaN or infinite numbers in a, b, c, d0, ")
  assert "d4 and 2 more" in text
