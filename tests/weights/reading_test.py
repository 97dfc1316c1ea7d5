"""Files and mappings of tensors, whole, wrapped, damaged or malicious."""

from collections import OrderedDict
import io
import json
import os
import random
import sys
import zipfile

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from bamjax.errors import UserError
from bamjax.weights import kinds
from bamjax.weights import read_network
from bamjax.weights import reading

TENSORS = {
  "head.0.weight": np.arange(12, dtype=np.float32).reshape(2, 2, 3, 1),
  "head.0.bias": np.float32([0.1, -2.5]),
}


@pytest.fixture
def torch():
  return pytest.importorskip("torch")


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


@pytest.mark.parametrize("suffix", [*reading.SUFFIXES, ".NPZ"])
@pytest.mark.parametrize("as_string", [False, True])
def test_every_suffix_is_read(tmp_path, suffix, as_string):
  path = write(tmp_path / f"weights{suffix.lower()}", TENSORS)
  path = path.rename(path.with_suffix(suffix))
  content = reading.read(str(path) if as_string else path)
  assert_are_the_tensors(reading.unwrap(content))


@pytest.mark.parametrize("kind", ["zip", "legacy", ".npz", ".safetensors"])
def test_bytes_decide_whatever_the_name(tmp_path, kind):
  if kind in reading.SUFFIXES:
    path = write(tmp_path / f"a{kind}", TENSORS)
  else:
    torch, path = pytest.importorskip("torch"), tmp_path / "a"
    zipped = {"_use_new_zipfile_serialization": kind == "zip"}
    torch.save(as_torch(torch, TENSORS), path, **zipped)
  for name in ("a.safetensors", "a.npz", "a.pth", "a.tar", "a"):
    path = path.rename(tmp_path / name)
    assert_are_the_tensors(reading.unwrap(reading.read(path)))


def test_torch_files_of_before_2020_are_read(tmp_path, torch):
  path = tmp_path / "old.pth"
  content = as_torch(torch, TENSORS)
  torch.save(content, path, _use_new_zipfile_serialization=False)
  assert_are_the_tensors(reading.unwrap(reading.read(path)))


@pytest.mark.parametrize("suffix", [".pth", ".PT"])
def test_without_torch_the_error_says_how_to_get_it(
  tmp_path, monkeypatch, suffix
):
  path = tmp_path / f"weights{suffix}"
  path.write_bytes(b"\x80\x02}.")
  monkeypatch.setitem(sys.modules, "torch", None)
  text = message(read_network, path)
  assert str(path) in text
  assert "pip install torch" in text


def test_the_other_files_need_no_torch(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "torch", None)
  for name in ("weights.npz", "weights.safetensors"):
    path = write(tmp_path / name, TENSORS)
    assert_are_the_tensors(reading.unwrap(reading.read(path)))


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
  assert "weights_only" not in text  # no hint how to run it after all


def test_a_whole_torch_module_is_refused_with_advice(tmp_path, torch):
  path = tmp_path / "model.pt"
  torch.save(torch.nn.Conv2d(3, 3, 1), path)
  text = message(reading.read, path)
  assert "torch.nn.modules.conv.Conv2d" in text
  assert "state_dict()" in text


def test_a_torch_file_must_hold_names(tmp_path, torch):
  path = tmp_path / "list.pth"
  torch.save([torch.zeros(3)], path)
  assert "holds a list, not named tensors" in message(reading.read, path)


def test_a_single_array_under_an_npz_name_is_refused(tmp_path):
  path = tmp_path / "array.npz"
  with open(path, "wb") as file:
    np.save(file, np.zeros(3))
  assert "holds a ndarray, not named tensors" in message(reading.read, path)


def test_pickled_objects_in_an_npz_are_refused(tmp_path):
  path = tmp_path / "objects.npz"
  np.savez(path, weight=np.array([{}, None]))
  text = message(reading.read, path)
  assert "not a readable .npz file" in text
  assert "weight holds objects of Python" in text
  assert "allow_pickle" not in text  # no hint how to run them after all


@pytest.mark.parametrize("suffix", reading.SUFFIXES)
def test_damaged_files_are_told_in_one_line(tmp_path, suffix):
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


@pytest.mark.parametrize(
  "name", ["a.bin", "a", "a.pth.tar", "a.ckpt", "a.SAFETENSORS", "a.npz"]
)
@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_contents_decide_and_not_names(tmp_path, name, suffix):
  assert message(reading.read, tmp_path / name) == (
    f"{tmp_path / name}: no such file"
  )
  path = write(tmp_path / f"b{suffix}", TENSORS).rename(tmp_path / name)
  assert_are_the_tensors(reading.unwrap(reading.read(path)))


def zipped(name):
  stream = io.BytesIO()
  with zipfile.ZipFile(stream, "w") as archive:
    archive.writestr(name, "content")
  return stream.getvalue()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(
  "content, said",
  [
    (b"\n<!DOCTYPE html>\n<html><body>Sign in", "a web page, not weights"),
    (b"<HTML>", "a web page, not weights"),
    (b"<?xml version='1.0'?><Error>", "a web page, not weights"),
    (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
    (b"../.git/annex/objects/a/b", "git annex get"),
    (b"Entry not found\n", "a text, not weights; it begins 'Entry not"),
    (b'{"error": "Access denied"}', "a text, not weights"),
    (b"\x1f\x8b\x08\0", "an archive: unpack"),
    (b"\0" * 257 + b"ustar", "an archive: unpack"),
    (zipped("weights.rar"), "a ZIP archive that holds no weights"),
    (zipped("a/constants.pkl"), "a TorchScript program; save the state_dict()"),
    (b"\xff\xd8\xff\xe0\0\x10JFIF", "no weights, or damaged"),
    (b"", "the file is empty"),
  ],
  ids=lambda value: str(value[:12]),
)
def test_what_is_no_weights_is_told_as_what_it_is(
  tmp_path, suffix, content, said
):
  path = tmp_path / f"weights{suffix}"
  path.write_bytes(content)
  text = message(read_network, path)
  assert text.startswith(f"{path}: ") and said in text


@pytest.mark.timeout(60)  # opening a pipe would wait for ever
def test_pipes_are_not_waited_for(tmp_path):
  path = tmp_path / "weights.pth"
  os.mkfifo(path)
  assert message(read_network, path) == f"{path}: not a file"


def test_archives_that_expand_beyond_measure_are_not_read(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(kinds, "_EXPANDED", 10**6)
  path = tmp_path / "zeros.npz"
  np.savez_compressed(path, weight=np.zeros(300_000, np.float32))
  assert "would expand to 1,200,1" in message(read_network, path)


def test_arrays_larger_than_their_file_are_not_made(tmp_path):
  path = tmp_path / "header.npz"
  stream = io.BytesIO()
  header = {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)}
  np.lib.format.write_array_header_1_0(stream, header)
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("weight.npy", stream.getvalue() + b"1234")
  text = message(read_network, path)
  assert "weight has 4 bytes where 4,000,000,000,000 are told" in text


@pytest.mark.parametrize("end", [4, 4 * 10**12])
def test_headers_that_tell_more_than_the_file_has_are_refused(tmp_path, end):
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
  assert "says that it holds 1,000 numbers, and holds 1" in message(
    read_network, path
  )
  tensors["head.0.bias"] = torch.ones(1).expand(10**6, 10**6)
  torch.save(tensors, path)
  assert "more than any network" in message(read_network, path)
  wide = np.broadcast_to(np.float32(0), (10**6, 10**6))
  assert "more than any network" in message(read_network, {"a.weight": wide})


@pytest.mark.parametrize("kind", ["sparse", "meta"])
def test_tensors_without_plain_numbers_are_named(torch, kind):
  tensor = torch.ones(3)
  tensor = tensor.to_sparse() if kind == "sparse" else tensor.to("meta")
  assert "odd is " in message(reading.unwrap, {"odd": tensor})


@pytest.mark.parametrize("suffix", reading.SUFFIXES)
def test_missing_files_and_folders_are_told(tmp_path, suffix):
  path = tmp_path / f"weights{suffix}"
  assert message(read_network, path) == f"{path}: no such file"
  path.mkdir()
  assert message(read_network, path) == f"{path}: a folder, not a file"


def prefixed(prefix):
  return {f"{prefix}{name}": tensor for name, tensor in TENSORS.items()}


OTHER = {name: tensor + 1 for name, tensor in TENSORS.items()}


@pytest.mark.parametrize(
  "content",
  [
    TENSORS,
    OrderedDict(TENSORS),
    {"params": TENSORS},
    {"params_ema": TENSORS},
    {"state_dict": TENSORS},
    {"model_state_dict": TENSORS},
    {"model": TENSORS},
    {"state_dict": {"params": TENSORS}},
    {"params": OTHER, "params_ema": TENSORS},
    {"state_dict": {"params": OTHER, "params_ema": TENSORS}},
    prefixed("module."),
    prefixed("module.model."),
    prefixed("params_ema."),
    prefixed("_orig_mod."),
    prefixed("module._orig_mod."),
    prefixed("generator."),
    {"net_g": TENSORS},
    {"netG": prefixed("module.")},
    {"ema": TENSORS},
    {"state_dict": {**prefixed("generator."), "step_counter": np.ones(1, int)}},
    {"state_dict": prefixed("module.")},
    {"params": prefixed("module.module.")},
    # Not a wrapper, though named like one.
    {"state_dict": TENSORS, "model": "edsr", "params": {"lr": 0.1}},
    {"params_ema": {}, "state_dict": TENSORS},
  ],
  ids=lambda content: "+".join(content)[:50],
)
def test_wrappers_and_prefixes_are_stripped(content):
  assert_are_the_tensors(reading.unwrap(content))


def test_wrapped_torch_files_are_read(tmp_path, torch):
  optimizer = {
    "state": {0: {"step": torch.tensor(5.0), "exp_avg": torch.zeros(3)}},
    "param_groups": [{"lr": 1e-4, "params": [0]}],
  }
  content = {
    "state_dict": as_torch(torch, prefixed("module.")),
    "epoch": 7,
    "arch": "EDSR",
    "best": torch.tensor(33.2),
    "rng_state": torch.get_rng_state(),
    "scheduler": {"last_epoch": 7, "_last_lr": [1e-4]},
    "optimizer": optimizer,
  }
  path = tmp_path / "checkpoint.pth"
  torch.save(content, path)
  assert_are_the_tensors(reading.unwrap(reading.read(path)))


OPTIMIZER = {"state": {0: {"exp_avg": np.zeros(3, np.float32)}}}


@pytest.mark.parametrize(
  "content, taken",
  [
    ({"net": TENSORS}, "net"),
    ({"g": TENSORS, "epoch": 3, "rng": np.ones(3, np.uint8)}, "g"),
    ({"weights": prefixed("module.")}, "weights"),
    ({"net": {"params": TENSORS}, "optimizer": OPTIMIZER}, "net"),
    ({"state_dict": TENSORS, "optimizer": OPTIMIZER}, None),
  ],
)
def test_the_only_dictionary_of_weights_is_taken(content, taken, caplog):
  assert_are_the_tensors(reading.unwrap(content, "a.pth"))
  said = f"a.pth: the weights in {taken} are taken, the only ones there"
  assert [r.getMessage() for r in caplog.records] == [said] * bool(taken)


@pytest.mark.parametrize(
  "content, said",
  [
    (
      {"g": TENSORS, "d": OTHER, "step": 1},
      "there are weights in g, d; save the dictionary of one network alone",
    ),
    ({"net": TENSORS, "w": np.ones(2)}, "weights in net and beside it, in w"),
    ({"a": {"b": {"c": TENSORS}}}, "a is a dict that holds no floating-point"),
    ({"net": {"w": np.ones(2, int)}}, "net is a dict that holds no floating"),
    ({"module.w": np.ones(2, int)}, "module.w holds int64, not floating-point"),
    ({"w": np.ones(2, int)}, "w holds int64, not floating-point"),
  ],
)
def test_no_other_dictionary_is_taken(content, said, caplog):
  assert said in message(read_network, content)
  assert not caplog.records


@pytest.mark.parametrize(
  "content, named",
  [
    ({"state_dict": TENSORS, "extra.weight": np.ones((2, 2))}, "extra.weight"),
    ({"state_dict": TENSORS, "discriminator": OTHER}, "discriminator"),
    ({"state_dict": TENSORS, "model": OTHER}, "model"),
    ({"params": TENSORS, "net_d": {"params": OTHER}}, "net_d"),
    ({"params": TENSORS, "params_ema": TENSORS, "best": OTHER}, "best"),
  ],
)
def test_weights_beside_a_wrapper_are_not_dropped(content, named):
  text = message(read_network, content)
  assert "beside it" in text
  assert named in text


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
def test_entries_that_are_no_tensors_are_named(key, value, named):
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
      pytest.skip("JAX has float32 unless told otherwise")
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
def test_integers_and_flags_are_no_weights(kind, dtype):
  tensor = np.ones(3, dtype)
  if kind == "torch":
    tensor = pytest.importorskip("torch").tensor(tensor)
  text = message(read_network, {**TENSORS, "odd": tensor})
  assert text.startswith(f"odd holds {dtype}, not floating-point numbers")


def test_numbers_that_are_none_are_named():
  odd = {
    "a": np.float32([1, np.nan]),
    "b": np.float16([np.inf]),
    "c": np.float64([1e300]),  # infinite in float32
    **{f"d{i}": np.float32([-np.inf]) for i in range(7)},
  }
  text = message(read_network, {**TENSORS, **odd})
  assert text.startswith("NaN or infinite numbers in a, b, c, d0, ")
  assert "d4 and 2 more" in text


def test_wrappers_without_end_are_refused():
  deep = {"weight": np.ones(3, np.float32)}
  for _ in range(400):
    deep = {"params": deep, "model": deep}
  assert "params is a dict" in message(reading.unwrap, deep)
  ring = {}
  ring["params"] = ring
  assert "params is a dict" in message(reading.unwrap, ring)


@pytest.mark.parametrize(
  "content, said",
  [
    ({"params": OTHER, "params_ema": TENSORS}, "params_ema are taken, not"),
    ({"generator": TENSORS, "discriminator": OTHER}, "in discriminator"),
    ({"netG": TENSORS, "netD": OTHER}, "netG are taken, not those in netD"),
    ({"net_g": OTHER, "ema": TENSORS}, "ema are taken, not those in net_g"),
    (
      {**prefixed("generator_ema."), **prefixed("generator.")},
      "generator_ema are taken, not those in generator",
    ),
  ],
)
def test_which_of_several_is_taken_is_told(content, said, caplog):
  assert_are_the_tensors(reading.unwrap(content, "a.pth"))
  (record,) = caplog.records
  assert record.getMessage().startswith("a.pth: the weights in ")
  assert said in record.getMessage()
