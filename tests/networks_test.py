import json
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy

import bamjax
from bamjax import weights
from bamjax.errors import UserError
from bamjax.models import create_model
from bamjax.models.registry import identify
from bamjax.networks import load_network
from bamjax.networks import Network
from bamjax.weights import Hints
from weights.goldens import Goldens


@pytest.fixture(scope="module")
def file(tmp_path_factory):
  path = tmp_path_factory.mktemp("weights") / "carn_m.safetensors"
  key = next(k for k in Goldens().cases if k.startswith("carn_m"))
  safetensors.numpy.save_file(Goldens().state_dict(key), path)
  return path


def test_a_file_is_loaded_as_its_network(file):
  network = load_network(file)
  assert (network.model, network.attn, network.scale) == ("carn_m", "none", 2)
  assert network.title == "carn_m none ×2"
  assert network.step is None and network.config is None
  assert load_network(file, Hints(scale=3)).module.scale == 3


def test_networks_compute_in_the_dtype_asked_for():
  lr = np.random.default_rng(0).random((1, 12, 14, 3), np.float32)
  outputs = []
  for dtype in (None, "bfloat16"):
    module, variables = bamjax.load_weights("pan-bam-x2", dtype=dtype)
    assert module.attention.dtype == module.dtype
    kinds = {leaf.dtype.name for leaf in jax.tree.leaves(variables)}
    assert kinds == {"float32"}
    program = jax.jit(module.apply).lower(variables, lr)
    assert ("bf16" in program.as_text()) == (dtype is not None)
    outputs.append(np.asarray(program.compile()(variables, lr), np.float32))
  assert 0 < np.abs(outputs[0] - outputs[1]).max() < 0.05


def test_whole_numbers_compute_no_network():
  with pytest.raises(ValueError, match="floating dtype; got int8"):
    bamjax.load_weights("pan-bam-x2", dtype="int8")


def test_a_run_is_loaded_without_a_word(finished_run, caplog):
  bamjax.load_weights(finished_run)
  assert not [r for r in caplog.records if r.levelname != "INFO"]


def test_mistakes_are_reported(file, tmp_path):
  with pytest.raises(UserError, match="no such file"):
    load_network(tmp_path / "absent")
  with pytest.raises(UserError, match="is not a run.s folder"):
    load_network(tmp_path)
  with pytest.raises(UserError, match="has no checkpoint 3"):
    load_network(file, Hints(step=3))
  with pytest.raises(UserError, match="not weights of pan"):
    load_network(file, Hints(model="pan"))
  with pytest.raises(UserError, match="^pan-bam-x2 is a file, which"):
    load_network("pan-bam-x2", Hints(step=3))
  with pytest.raises(UserError, match="^unknown attention 'bamm'; choose from"):
    load_network("pan-bam-x2", Hints(attn="bamm"))


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("", "the name of the weights is empty"),
    ("a\0b", "'a\\x00b': not a valid file name"),
    ("a/b\0.npz", "not a valid file name"),
    ("a" * 5000, "cannot be read: File name too long"),
    ("a" * 300 + ".safetensors", "cannot be read: File name too long"),
  ],
  ids=["empty", "NUL", "NUL.npz", "long", "long.safetensors"],
)
def test_invalid_file_names_are_one_line(name, message):
  for load in (load_network, bamjax.load_weights, weights.read_network):
    with pytest.raises(UserError) as caught:
      load(name)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("name", "attn", "kind"),
  [
    ("edsr", "native", "none"),
    ("edsr_baseline", "bam", "bam"),
    ("carn", "none", "none"),
    ("carn_m", "se", "se"),
    ("imdn", "native", "cca"),
    ("rcan", "native", "ca"),
  ],
)
def test_modules_know_their_names(name, attn, kind):
  assert identify(create_model(name, attn)) == (name, kind)


@pytest.mark.parametrize(
  ("name", "options", "depth"),
  [
    ("edsr", {}, ""),
    ("edsr_baseline", {}, ""),
    ("edsr", {"blocks": 15, "features": 64}, ", 15 blocks"),
    ("pan", {"blocks": 1}, ", 1 block"),
    ("rcan", {"groups": 9}, ", 9 groups"),
    ("drln", {"groups": (3, 3, 3, 3, 4)}, ", 16 blocks"),
    ("carn_m", {"groups": 4}, ""),
    ("carn", {"units": 2}, ", 2 units"),
    ("slwsr32", {}, ""),
  ],
)
def test_titles_show_an_unusual_depth(name, options, depth):
  module = create_model(name, "none", **options)
  network = Network("a", *identify(module), 2, module, {})
  assert network.title == f"{network.model} none ×2{depth}"


def test_unusual_widths_have_the_plain_name():
  assert identify(create_model("edsr_baseline", features=48))[0] == "edsr"


def test_a_run_is_what_it_was_trained_as(finished_run):
  network = load_network(finished_run)
  assert (network.model, network.attn, network.scale) == ("pan", "bam", 2)
  assert network.step == 2
  assert network.config.model == "pan"
  load_network(finished_run, Hints(attn="bam", normalization="official"))
  for options, message in (
    ({"normalization": "super_image"}, "another normalization"),
    ({"attn": "native"}, "a run of attn bam, not pa"),
    ({"scale": 4}, "a run of scale 2, not 4"),
    ({"model": "edsr"}, "a run of model pan, not edsr"),
    ({"step": 7}, "no checkpoint of step 7"),
  ):
    with pytest.raises(UserError, match=message):
      load_network(finished_run, Hints(**options))
  lr = np.zeros((1, 8, 8, 3), np.float32)
  sr = jax.eval_shape(network.module.apply, network.variables, lr)
  assert sr.shape == (1, 16, 16, 3)


def test_reading_a_run_leaves_its_folder_as_it_is(finished_run, tmp_path):
  run_dir = tmp_path / "run"
  shutil.copytree(finished_run, run_dir)
  # A checkpoint that a training is writing.
  (written,) = [p for p in (run_dir / "checkpoints").iterdir() if p.name == "2"]
  unfinished = written.with_name("3.orbax-checkpoint-tmp-7")
  shutil.copytree(written, unfinished)

  def listed():
    return {p: p.stat().st_mtime_ns for p in run_dir.rglob("*")}

  before = listed()
  assert load_network(run_dir).step == 2
  assert listed() == before
  shutil.rmtree(run_dir / "checkpoints")
  with pytest.raises(UserError, match="has no checkpoint yet"):
    load_network(run_dir)
  assert not (run_dir / "checkpoints").exists()


def test_a_run_of_a_network_that_cannot_be_is_one_line(finished_run, tmp_path):
  shutil.copytree(finished_run, tmp_path / "run")
  path = tmp_path / "run" / "config.json"
  config = json.loads(path.read_text())
  # BAM reduces the channels by 16.
  config["model"], config["model_options"] = "edsr", {"features": 8}
  path.write_text(json.dumps(config))
  with pytest.raises(UserError, match="config.json: this network cannot be"):
    load_network(tmp_path / "run")


def test_a_run_is_loaded_like_any_weights(finished_run):
  network = load_network(finished_run)
  module, variables = bamjax.load_weights(finished_run)
  assert module == network.module and network.step == 2
  jax.tree.map(np.testing.assert_array_equal, variables, network.variables)
  at_step, _ = bamjax.load_weights(str(finished_run), step=2)
  assert at_step == module
  with pytest.raises(UserError, match="no checkpoint of step 7"):
    bamjax.load_weights(finished_run, step=7)
  with pytest.raises(UserError, match="a run of model pan"):
    bamjax.load_weights(finished_run, model="edsr")
