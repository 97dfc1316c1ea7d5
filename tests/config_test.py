import json

import pytest

from bamjax import config as config_lib
from bamjax import defaults
from bamjax.errors import UserError


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
    ("[]", "no run's configuration: it lacks attn, model, scale"),
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
    ({"steps": "10"}, "steps is '10', and must be a whole number"),
    ({"steps": 2.5}, "steps is 2.5"),
    ({"scale": True}, "scale is True"),
    ({"seed": None}, "seed is None"),
    ({"model": 5}, "model is 5, and must be a text"),
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
