"""Files that are damaged, malicious, or not weights at all."""

import io
import json
import os
import random
import zipfile

import numpy as np
import pytest

from bamjax.errors import UserError
from bamjax.weights import read_network
from bamjax.weights import reading
from weights.tensor_files import as_torch
from weights.tensor_files import message
from weights.tensor_files import TENSORS
from weights.tensor_files import write


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_torch_file_does_not_run(tmp_path, torch, legacy):
  trace = tmp_path / "trace"

  class Malicious:
    def __reduce__(self):
      return open, (str(trace), "w")

  path = tmp_path / "weights.pth"
  content = {**as_torch(torch, TENSORS), "extra": Malicious()}
  torch.save(content, path, _use_new_zipfile_serialization=not legacy)
  text = message(read_network, path)
  assert not trace.exists()
  assert str(path) in text
  assert ".open besides tensors" in text
  assert "weights_only" not in text  # no advice to run it anyway


def test_a_whole_torch_module_is_refused_with_advice(tmp_path, torch):
  path = tmp_path / "model.pt"
  torch.save(torch.nn.Conv2d(3, 3, 1), path)
  text = message(reading.read, path)
  assert "torch.nn.modules.conv.Conv2d" in text
  assert "state_dict()" in text


def test_a_torch_file_must_hold_names(tmp_path, torch):
  path = tmp_path / "list.pth"
  torch.save([torch.zeros(3)], path)
  assert "contains a list, not named tensors" in message(reading.read, path)


def test_a_single_array_under_an_npz_name_is_refused(tmp_path):
  path = tmp_path / "array.npz"
  with open(path, "wb") as file:
    np.save(file, np.zeros(3))
  assert "a single NumPy array, not named tensors" in message(
    reading.read, path
  )


def test_pickled_objects_in_an_npz_are_refused(tmp_path):
  path = tmp_path / "objects.npz"
  np.savez(path, weight=np.array([{}, None]))
  text = message(reading.read, path)
  assert "not a readable .npz file" in text
  assert "weight contains Python objects" in text
  assert "allow_pickle" not in text  # no advice to run them anyway


@pytest.mark.parametrize("suffix", reading.SUFFIXES)
def test_damaged_files_are_reported_in_one_line(tmp_path, suffix):
  if suffix in (".pth", ".pt"):
    pytest.importorskip("torch")
  whole = write(tmp_path / f"whole{suffix}", TENSORS).read_bytes()
  path = tmp_path / f"damaged{suffix}"
  rng = random.Random(suffix)
  cases = [
    b"",
    b"\0",
    b"not weights at all",
    whole[:-1],
    whole[: -1 - len(whole) // 2],
  ]
  cases += [rng.randbytes(rng.randrange(200)) for _ in range(60)]
  cases += [whole[: rng.randrange(len(whole))] for _ in range(60)]
  for case in cases:
    path.write_bytes(case)
    text = message(read_network, path)
    assert text.startswith(f"{path}: ")
    assert suffix in text


@pytest.mark.parametrize("suffix", reading.SUFFIXES)
def test_altered_bytes_raise_no_other_error(tmp_path, suffix):
  if suffix in (".pth", ".pt"):
    pytest.importorskip("torch")
  whole = write(tmp_path / f"whole{suffix}", TENSORS).read_bytes()
  path = tmp_path / f"altered{suffix}"
  rng = random.Random(suffix)
  for _ in range(100):
    data = bytearray(whole)
    for _ in range(rng.randrange(1, 20)):
      data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(data)
    try:
      reading.unwrap(reading.read(path))  # may be a value that changed
    except UserError as error:
      assert "\n" not in str(error)


def zipped(name):
  stream = io.BytesIO()
  with zipfile.ZipFile(stream, "w") as archive:
    archive.writestr(name, "content")
  return stream.getvalue()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(
  "content, error",
  [
    (b"\n<!DOCTYPE html>\n<html><body>Sign in", "a web page, not weights"),
    (b"<HTML>", "a web page, not weights"),
    (b"<?xml version='1.0'?><Error>", "a web page, not weights"),
    (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    (b"../.git/annex/objects/a/b", "git annex get"),
    (b"Entry not found\n", "a text file, not weights; it starts with 'Entry"),
    (b'{"error": "Access denied"}', "a text file, not weights"),
    (b"\x1f\x8b\x08\0", "a compressed archive; unpack"),
    (b"\0" * 257 + b"ustar", "a tar archive; unpack"),
    (zipped("weights.rar"), "a ZIP archive without weights"),
    (zipped("a/constants.pkl"), "a TorchScript program, not weights; save"),
    (b"\xff\xd8\xff\xe0\0\x10JFIF", "not weights, or damaged"),
    (b"", "the file is empty"),
  ],
)
def test_files_that_are_not_weights_are_identified(
  tmp_path, suffix, content, error
):
  path = tmp_path / f"weights{suffix}"
  path.write_bytes(content)
  text = message(read_network, path)
  assert text.startswith(f"{path}: ") and error in text


@pytest.mark.timeout(60)  # opening a pipe would block forever
def test_pipes_are_refused(tmp_path):
  path = tmp_path / "weights.pth"
  os.mkfifo(path)
  assert message(read_network, path) == f"{path}: not a regular file"


def test_archives_that_expand_too_much_are_not_read(tmp_path, monkeypatch):
  monkeypatch.setattr(reading, "_EXPANDED", 10**6)
  path = tmp_path / "zeros.npz"
  np.savez_compressed(path, weight=np.zeros(300_000, np.float32))
  assert "would expand to 1,200,1" in message(read_network, path)


def test_arrays_larger_than_their_file_are_not_allocated(tmp_path):
  path = tmp_path / "header.npz"
  stream = io.BytesIO()
  header = {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)}
  np.lib.format.write_array_header_1_0(stream, header)
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("weight.npy", stream.getvalue() + b"1234")
  text = message(read_network, path)
  assert "weight has 4 bytes, but its header declares 4,000,000,000,000" in text


@pytest.mark.parametrize("end", [4, 4 * 10**12])
def test_headers_that_declare_more_than_the_file_has_are_refused(tmp_path, end):
  path = tmp_path / "header.safetensors"
  tensor = {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, end]}
  header = json.dumps({"weight": tensor}).encode()
  path.write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
  assert "not a readable safetensors file" in message(read_network, path)


def test_repeated_numbers_take_no_memory(tmp_path, torch):
  path = tmp_path / "weights.pth"
  tensors = as_torch(torch, TENSORS)
  tensors["head.0.bias"] = torch.ones(1).expand(1000)
  torch.save(tensors, path)
  assert "has the shape of 1,000 numbers, but stores only 1" in message(
    read_network, path
  )
  tensors["head.0.bias"] = torch.ones(1).expand(10**6, 10**6)
  torch.save(tensors, path)
  assert "more than any supported network" in message(read_network, path)
  wide = np.broadcast_to(np.float32(0), (10**6, 10**6))
  assert "more than any supported network" in message(
    read_network, {"a.weight": wide}
  )


@pytest.mark.parametrize("suffix", reading.SUFFIXES)
def test_missing_files_and_folders_are_reported(tmp_path, suffix):
  path = tmp_path / f"weights{suffix}"
  assert message(read_network, path) == f"{path}: no such file"
  path.mkdir()
  assert message(read_network, path) == f"{path}: a folder, not a file"
