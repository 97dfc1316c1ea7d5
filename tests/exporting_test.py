import dataclasses
import json
import os
from pathlib import Path
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import bamjax
from bamjax import exporting
from bamjax.errors import UserError
from bamjax.networks import load_network
from bamjax.runs.recipe import Data
from bamjax.runs.recipe import Recipe
from bamjax.runs.recipe import Teacher
from bamjax.weights import store
from models import small
import scripts

rng = np.random.default_rng(0)


def save(path, name, attn, **options):
  module = small.create(name, attn, **options)
  variables = small.draw(module, jnp.zeros((1, 8, 8, 3)))
  bamjax.save_weights(path, module, variables)
  return load_network(path)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
  path = tmp_path_factory.mktemp("weights") / "pan.safetensors"
  return save(path, "pan", "bam", scale=3)


@pytest.mark.parametrize(
  ("name", "attn"),
  [
    ("imdn", "cca"),
    ("slwsr32", "cbam"),
    pytest.param("bsrn", "esa_cca", marks=pytest.mark.slow),
    pytest.param("smfanet", "none", marks=pytest.mark.slow),
    pytest.param("carn_m", "cbam", marks=pytest.mark.slow),
    pytest.param("pan", "bam", marks=pytest.mark.slow),
    pytest.param("drln", "la", marks=pytest.mark.slow),
    pytest.param("awsrn", "bam_allpool", marks=pytest.mark.slow),
    pytest.param("rcan", "ca", marks=pytest.mark.slow),
  ],
)
def test_stablehlo_is_the_network_at_any_size(tmp_path, name, attn):
  network = save(tmp_path / "a.safetensors", name, attn)
  exporting.write(network, tmp_path / "a.stablehlo")
  program = exporting.load_stablehlo(tmp_path / "a.stablehlo")
  for shape in ((1, 9, 14, 3), (2, 16, 11, 3)):
    lr = rng.random(shape, dtype=np.float32)
    want = network.module.apply(network.variables, lr)
    np.testing.assert_allclose(program(lr), want, atol=1e-5)
  with pytest.raises(ValueError, match="must be floating"):
    program(np.zeros((1, 9, 14, 3), np.uint8))
  with pytest.raises(ValueError, match=r"floating RGB must be in \[0, 1\]"):
    program(255 * lr)


@pytest.mark.parametrize(
  ("name", "attn"),
  [
    pytest.param("pan", "bam", marks=pytest.mark.slow),
    pytest.param("imdn", "bam", marks=pytest.mark.slow),
    pytest.param("imdn", "cca", marks=pytest.mark.slow),
    # Coarse maps; the last of the sizes is smaller than one of their cells.
    pytest.param("bsrn", "esa_cca", marks=pytest.mark.slow),
    pytest.param("smfanet", "bam", marks=pytest.mark.slow),
  ],
)
def test_onnx_is_the_network_at_any_size(tmp_path, name, attn):
  pytest.importorskip("jax2onnx", reason="needs jax2onnx, which is optional")
  runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
  network = save(tmp_path / "a.safetensors", name, attn)
  exporting.write(network, tmp_path / "a.onnx")
  session = runtime.InferenceSession(tmp_path / "a.onnx")
  for shape in ((1, 9, 14, 3), (2, 16, 11, 3), (1, 61, 32, 3), (1, 5, 3, 3)):
    lr = rng.random(shape, dtype=np.float32)
    want = network.module.apply(network.variables, lr)
    np.testing.assert_allclose(
      session.run(["sr"], {"lr": lr})[0], want, atol=1e-5
    )


def test_an_onnx_model_that_differs_is_not_written(
  network, tmp_path, monkeypatch
):
  pytest.importorskip("jax2onnx", reason="needs jax2onnx, which is optional")
  pytest.importorskip("onnxruntime", reason="needs onnxruntime")
  calls = []

  def off(module, variables, purpose):
    calls.append(1)
    # Traced for the conversion, then run for the comparison.
    return lambda lr: (
      jnp.repeat(lr, 3, 1).repeat(3, 2)
      + (0 if isinstance(lr, jnp.ndarray) else 1)
    )

  monkeypatch.setattr(exporting, "_function", off)
  with pytest.raises(UserError, match="is off by"):
    exporting.write(network, tmp_path / "a.onnx")
  assert calls and not list(tmp_path.iterdir())


def test_a_network_that_cannot_be_converted_is_reported(
  network, tmp_path, monkeypatch
):
  converter = pytest.importorskip("jax2onnx", reason="needs jax2onnx")
  pytest.importorskip("onnxruntime", reason="needs onnxruntime")

  def fail(*_, **__):
    raise NotImplementedError("no plugin for primitive 'fft'")

  monkeypatch.setattr(converter, "to_onnx", fail)
  with pytest.raises(UserError, match="can't convert.*'fft'"):
    exporting.write(network, tmp_path / "a.onnx")
  assert not list(tmp_path.iterdir())


def test_onnx_without_its_packages_is_an_error(network, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "jax2onnx", None)
  with pytest.raises(UserError, match=r'pip install ".*\[onnx\]"'):
    exporting.write(network, tmp_path / "a.onnx")


def test_a_missing_package_is_no_damage(network, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "flatbuffers", None)
  (tmp_path / "a.stablehlo").write_bytes(b"any")
  for call in (
    lambda: exporting.load_stablehlo(tmp_path / "a.stablehlo"),
    lambda: exporting.write(network, tmp_path / "b.stablehlo"),
  ):
    with pytest.raises(UserError, match="^StableHLO needs flatbuffers: pip"):
      call()


def test_mistakes_are_reported(network, tmp_path):
  with pytest.raises(UserError, match="unknown format"):
    exporting.write(network, tmp_path / "a.tflite")
  (tmp_path / "text.stablehlo").write_text("no program")
  for name in ("text.stablehlo", "absent.stablehlo"):
    with pytest.raises(UserError, match=name):
      exporting.load_stablehlo(tmp_path / name)
  with pytest.raises(UserError, match="cannot be written"):
    exporting.write(network, tmp_path / "text.stablehlo" / "a.safetensors")


def test_the_networks_own_file_is_not_overwritten(network, tmp_path):
  source = Path(network.source)
  before = source.read_bytes()
  (tmp_path / "link.safetensors").symlink_to(source)
  os.link(source, tmp_path / "hard.safetensors")
  for path in (
    source,
    source.parent / ".." / source.parent.name / source.name,
    tmp_path / "link.safetensors",
    tmp_path / "hard.safetensors",
  ):
    with pytest.raises(UserError, match="which is read"):
      exporting.write(network, path)
    with pytest.raises(UserError, match="which is read"):
      exporting.write(network, path, "stablehlo")
  assert source.read_bytes() == before


def test_the_card_of_the_weights_is_kept(tmp_path, caplog, monkeypatch):
  shipped = store.read_card("pan-bam-x2")
  path, card = tmp_path / "a.safetensors", tmp_path / "card.json"
  card.write_text('{"licence": "other", "hardware": "a GPU", "new": 1}')
  done = scripts.call(
    "export.py", "--weights=pan-bam-x2", f"-o={path}", f"--card={card}"
  )
  assert done.code == 0, done.err
  changed = {"licence": "other", "hardware": "a GPU", "new": 1}
  assert store.read_card(path) == {**shipped, "source": "pan-bam-x2", **changed}
  monkeypatch.setattr(exporting, "to_stablehlo", lambda network, path: None)
  exporting.write(load_network(path), tmp_path / "a.stablehlo")
  (record,) = caplog.records
  assert record.getMessage() == (
    f"{tmp_path / 'a.stablehlo'}: stablehlo files can't hold the model card of"
    f" {path}"
  )


def test_the_card_of_a_run_names_its_teacher(network, tmp_path):
  config = Recipe()
  run = dataclasses.replace(network, source="runs/a", step=9, config=config)
  path = tmp_path / "a.safetensors"
  exporting.write(run, path)
  assert "teacher" not in store.read_card(path)
  teacher = Teacher("somewhere/smfanet-x2", sha256="0123", licence="Apache-2.0")
  config = Recipe(teacher=teacher, data=Data(lr_only=0.75))
  run = dataclasses.replace(run, config=config)
  exporting.write(run, path)
  assert store.read_card(path)["teacher"] == {
    "name": "smfanet-x2",
    "weight": 0.5,
    "ensemble": False,
    "sha256": "0123",
    "licence": "Apache-2.0",
    "lr_only": 0.75,
  }


def test_an_onnx_file_has_the_model_card(tmp_path):
  pytest.importorskip("jax2onnx", reason="needs jax2onnx, which is optional")
  runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
  network = save(tmp_path / "a.safetensors", "edsr", "none")
  card = {"licence": "MIT", "scores": {"Set5": 33.25}, "name": "日本"}
  safe, path = tmp_path / "b.safetensors", tmp_path / "b.onnx"
  for file in (safe, path):
    exporting.write(network, file, card=card)
  session = runtime.InferenceSession(path)
  found = session.get_modelmeta().custom_metadata_map
  own = {**json.loads(found["card"]), "network": json.loads(found["network"])}
  assert own == store.read_card(safe)
  assert own["scores"] == {"Set5": 33.25} and own["name"] == "日本"
  assert own["network"]["model"] == "edsr"
  with pytest.raises(UserError, match="card is not JSON"):
    exporting.write(network, path, card={"score": float("nan")})


def test_a_card_that_cannot_be_read_is_left_with_a_warning(
  network, tmp_path, caplog
):
  source, path = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
  header = {"format": "bamjax", "card": "{"}
  header["network"] = json.dumps(store.describe(network.module))
  tensors = safetensors.numpy.load_file(network.source)
  safetensors.numpy.save_file(tensors, source, header)
  exporting.write(load_network(source), path)
  assert "a.safetensors: the card in its header cannot" in caplog.text
  assert store.read_card(path).keys() == {"source", "network"}


@pytest.mark.parametrize("text", ["[" * 10**5, "{"])
def test_a_card_that_is_not_json_is_one_line(tmp_path, text):
  card = tmp_path / "card.json"
  card.write_text(text)
  done = scripts.call(
    *("export.py", "--weights=pan-bam-x2", f"--card={card}"),
    f"-o={tmp_path / 'a.safetensors'}",
  )
  assert done.code == 2
  assert done.err.startswith(f"export.py: error: --card={card} cannot be read")
  assert done.err.count("\n") == 1


def test_the_script_exports_a_run(finished_run, tmp_path):
  path = tmp_path / "a.safetensors"
  card = tmp_path / "card.json"
  card.write_text('{"licence": "MIT"}')
  done = scripts.call(
    "export.py",
    *(f"--run_dir={finished_run}", f"--output={path}", f"--card={card}"),
  )
  assert done.code == 0, done.err
  assert "pan bam ×2" in done.out
  network = load_network(path)
  run = load_network(finished_run)
  jax.tree.map(np.testing.assert_array_equal, network.variables, run.variables)
  found = store.read_card(path)
  assert found["step"] == run.step and found["licence"] == "MIT"
  done = scripts.call(
    "export.py", f"--run_dir={finished_run}", f"--card={card}", f"-o={card}"
  )
  assert done.code == 2 and "which is read" in done.err
  card.write_text("[1]")
  done = scripts.call(
    "export.py", f"--run_dir={finished_run}", f"-o={path}", f"--card={card}"
  )
  assert done.code == 2
  assert done.err.endswith("holds no JSON object\n")
  done = scripts.call("export.py", f"--output={path}")
  assert done.code == 2
  assert done.err == (
    "export.py: error: no network: use --weights=FILE or --run_dir=DIR\n"
  )
