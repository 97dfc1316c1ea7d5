"""What a configuration may hold, and how flags and files fill it."""

import dataclasses
import json

import pytest

from bamjax.errors import UserError
from bamjax.runs import experiment
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import Recipe


def write(path, change):
  """A run's configuration with some fields as given."""
  config = recipe_lib.to_dict(Recipe())
  config["data"] |= change.pop("data", {})
  path.write_text(json.dumps({**config, **change}))
  return path


def test_a_configuration_comes_back_as_it_was(tmp_path):
  config = Recipe(model_options={"features": 32, "groups": (1, 2)})
  recipe_lib.save(config, tmp_path / "config.json")
  assert recipe_lib.load(tmp_path / "config.json") == config


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
    recipe_lib.load(tmp_path / "config.json")


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
    recipe_lib.load(path)


def test_options_that_are_lists_in_json_are_tuples(tmp_path):
  options = {"tail_sizes": (3, 5, 7, 9)}
  config = Recipe(model="awsrn", model_options=options)
  recipe_lib.save(config, tmp_path / "config.json")
  again = recipe_lib.load(tmp_path / "config.json")
  assert recipe_lib.differences(again, config) == []
  hash(experiment.build_model(again))


@pytest.fixture
def config():
  config = Recipe()
  experiment.check(config)
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
  assert recipe_lib.parse_options([text]) == options


def test_options_may_be_given_one_by_one():
  found = recipe_lib.parse_options(["blocks=8", "groups=(1,2)", "blocks=9"])
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
    recipe_lib.parse_options([text])


@pytest.mark.parametrize(
  "option", ["scale", "dtype", "normalization", "attention", "name", "parent"]
)
def test_what_has_a_field_of_its_own_is_no_option(config, option):
  config = dataclasses.replace(config, model_options={option: 3})
  with pytest.raises(UserError) as caught:
    experiment.build_model(config)
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
  config = recipe_lib.changed(config, change)
  with pytest.raises(UserError, match=words):
    experiment.check(config)


def test_seeds_of_32_bits_are_taken(config):
  for seed in (-(2**31), 0, 2**31 - 1):
    experiment.check(dataclasses.replace(config, seed=seed))


def test_a_recipe_cannot_change(config):
  with pytest.raises(dataclasses.FrozenInstanceError):
    config.steps = 3
  with pytest.raises(dataclasses.FrozenInstanceError):
    config.data.patch = 3


def test_a_changed_recipe_is_a_copy(config):
  options = {"first": {"resize": (0.5, 1.0)}, "second": {}}
  config = recipe_lib.changed(config, {"data.degradation_options": options})
  other = recipe_lib.changed(
    config,
    {
      "optim.learning_rate": 1e-3,
      "data": {"patch": 32, "degradation_options": {"second": {"a": 1}}},
      "model_options.blocks": 3,
    },
  )
  assert (other.optim.learning_rate, other.optim.decay_factor) == (1e-3, 0.5)
  assert (other.data.patch, other.model_options) == (32, {"blocks": 3})
  assert other.data.degradation_options == {**options, "second": {"a": 1}}
  assert config.data.degradation_options == options
  assert (config.data.patch, config.model_options) == (64, {})
  for name in ("stesp", "optim.rate", "steps.x"):
    with pytest.raises(KeyError):
      recipe_lib.changed(config, {name: 3})


def test_a_field_that_does_not_exist_is_warned_of(tmp_path, caplog):
  path = write(tmp_path / "config.json", {"note": 1, "data": {"side": 2}})
  assert recipe_lib.load(path) == Recipe()
  assert "ignored unknown fields: data.side, note" in caplog.text


def test_a_value_of_another_type_is_refused(config):
  with pytest.raises(UserError, match="steps is '9', and must be an integer"):
    experiment.check(dataclasses.replace(config, steps="9"))


def test_fields_of_older_versions_have_their_names_of_today(tmp_path):
  config = Recipe(data=recipe_lib.Data(max_val_images=7))
  recipe_lib.save(config, tmp_path / "config.json")
  text = (tmp_path / "config.json").read_text()
  assert "max_val_images" in text
  old = text.replace("max_val_images", "max_val_pictures")
  (tmp_path / "config.json").write_text(old)
  assert recipe_lib.load(tmp_path / "config.json") == config
