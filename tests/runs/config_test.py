"""What a configuration may hold, and how flags and files fill it."""

import json

import ml_collections
import pytest

from bamjax.errors import UserError
from bamjax.runs import config as config_lib
from bamjax.runs import defaults


def write(path, change):
  """A run's configuration with some fields as given."""
  config = defaults.get_config().to_dict()
  config["data"] |= change.pop("data", {})
  path.write_text(json.dumps({**config, **change}))
  return path


def test_a_configuration_comes_back_as_it_was(tmp_path):
  config = defaults.get_config()
  config.model_options = {"features": 32}
  config_lib.save(config, tmp_path / "config.json")
  assert config_lib.load(tmp_path / "config.json") == config


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("", "cannot be read"),
    ("{", "cannot be read"),
    ("\x00" * 20, "cannot be read"),
    ("[" * 100_000, "cannot be read"),
    ("[]", "not a run's configuration: it lacks attn, model, scale"),
    ("{}", "lacks attn, model, scale"),
    ("null", "lacks attn, model, scale"),
    ('{"model": "pan", "scale": 2}', "lacks attn"),
  ],
)
def test_what_is_no_configuration_is_refused(tmp_path, text, words):
  (tmp_path / "config.json").write_text(text)
  with pytest.raises(UserError, match=words):
    config_lib.load(tmp_path / "config.json")


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"steps": "10"}, "steps is '10', and must be an integer"),
    ({"steps": 2.5}, "steps is 2.5"),
    ({"scale": True}, "scale is True"),
    ({"seed": None}, "seed is None"),
    ({"model": 5}, "model is 5, and must be a string"),
    ({"optim": {"learning_rate": "fast"}}, "optim.learning_rate is 'fast'"),
    ({"data": {"patch": [16]}}, r"data.patch is \[16\]"),
    ({"optim": 3}, "optim is 3, and must be a group of fields"),
    ({"model_options": [1]}, "model_options is"),
  ],
)
def test_a_field_of_another_type_is_named(tmp_path, change, words):
  path = write(tmp_path / "config.json", change)
  with pytest.raises(UserError, match=words):
    config_lib.load(path)


def test_options_that_are_lists_in_json_are_tuples(tmp_path):
  config = defaults.get_config()
  config.model = "awsrn"
  config.model_options = {"tail_sizes": (3, 5, 7, 9)}
  config_lib.save(config, tmp_path / "config.json")
  again = config_lib.load(tmp_path / "config.json")
  assert config_lib.differences(again, config) == []
  hash(config_lib.build_model(again))


@pytest.fixture
def config():
  config = defaults.get_config()
  config_lib.check(config)
  return config


@pytest.mark.parametrize(
  ("text", "options"),
  [
    ("blocks=8,features=32", {"blocks": 8, "features": 32}),
    ("groups=(1,2),remat=True", {"groups": (1, 2), "remat": True}),
    ("groups=[1, 2], res_scale=0.1", {"groups": [1, 2], "res_scale": 0.1}),
    ("blocks='x'", {"blocks": "x"}),
    ("features=-3", {"features": -3}),
    ("", {}),
  ],
)
def test_options_are_python_literals(text, options):
  assert config_lib.parse_options([text]) == options


def test_options_may_be_given_one_by_one():
  found = config_lib.parse_options(["blocks=8", "groups=(1,2)", "blocks=9"])
  assert found == {"blocks": 9, "groups": (1, 2)}


@pytest.mark.parametrize(
  "text",
  [
    *("blocks", "blocks=", "blocks=x", "=3", "blocks=8;features=3", "blocks 8"),
    *("**{}", "blocks=f()", "blocks=1) + f(", "(" * 10_000),
  ],
)
def test_options_of_another_form_are_refused(text):
  with pytest.raises(UserError, match="FIELD=VALUE,FIELD=VALUE"):
    config_lib.parse_options([text])


@pytest.mark.parametrize(
  "option", ["scale", "dtype", "normalization", "attention", "name", "parent"]
)
def test_what_has_a_field_of_its_own_is_no_option(config, option):
  config.model_options = {option: 3}
  with pytest.raises(UserError) as caught:
    config_lib.build_model(config)
  assert str(caught.value) == (
    f"edsr has no hyper-parameter {option}; it has blocks, features, remat,"
    " res_scale"
  )


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"seed": 2**31}, "seed must be a 32-bit integer.* got 2147483648"),
    ({"seed": -(2**31) - 1}, "seed must be a 32-bit integer"),
    ({"steps": 2**31}, "steps must be a 32-bit integer"),
    ({"batch_size": 2**31}, "batch_size must be a 32-bit integer"),
    ({"optim.decay_every": 2**31}, "decay_every must be a 32-bit integer"),
    ({"optim.warmup_steps": 2**31}, "warmup_steps must be a 32-bit integer"),
    ({"steps": 0}, "steps must be at least 1; got 0"),
    ({"optim.warmup_steps": -5}, "optim.warmup_steps must be at least 0"),
    ({"optim.clip_norm": float("nan")}, "clip_norm must be at least 0"),
    ({"optim.learning_rate": float("nan")}, "learning_rate must be above 0"),
    ({"optim.learning_rate": float("inf")}, "learning_rate must be above 0"),
    ({"optim.decay_factor": 0.0}, "decay_factor must be above 0"),
    ({"optim.ema_decay": float("nan")}, "ema_decay must be .* less than 1"),
    ({"data.max_val_images": -1}, "max_val_images must be at least 0"),
    ({"data.val_dir": "x"}, "--val_dir is not for --data=div2k"),
    (
      {"data.source": "sample", "data.data_dir": "x"},
      "--data_dir is not for --data=sample: .*--data=folder",
    ),
    (
      {"data.source": "folder", "data.manual_dir": "x"},
      "--manual_dir is not for --data=folder",
    ),
  ],
)
def test_values_that_no_run_can_have_are_refused(config, change, words):
  config.update_from_flattened_dict(change)
  with pytest.raises(UserError, match=words):
    config_lib.check(config)


def test_seeds_of_32_bits_are_taken(config):
  for seed in (-(2**31), 0, 2**31 - 1):
    config.seed = seed
    config_lib.check(config)


def test_what_a_configuration_lacks_is_named(config):
  with config.unlocked():
    del config.data.patch, config.seed
  with pytest.raises(UserError, match=r"lacks data\.patch, seed; .*default"):
    config_lib.check(config)


def test_a_value_of_another_type_is_refused(config):
  changed = ml_collections.ConfigDict({**config.to_dict(), "steps": "9"})
  with pytest.raises(UserError, match="steps is '9', and must be an integer"):
    config_lib.check(changed)


def test_fields_of_older_versions_have_their_names_of_today(tmp_path):
  config = defaults.get_config()
  config.data.max_val_images = 7
  config_lib.save(config, tmp_path / "config.json")
  text = (tmp_path / "config.json").read_text()
  assert "max_val_images" in text
  old = text.replace("max_val_images", "max_val_pictures")
  (tmp_path / "config.json").write_text(old)
  assert config_lib.load(tmp_path / "config.json") == config
