"""One network's weights are found in what training scripts save."""

from collections import OrderedDict

import numpy as np
import pytest

from bamjax.weights import read_network
from bamjax.weights import reading
from weights.tensor_files import as_torch
from weights.tensor_files import assert_are_the_tensors
from weights.tensor_files import message
from weights.tensor_files import prefixed
from weights.tensor_files import TENSORS

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
    # `model` and `params` are not wrappers here, despite their names.
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
def test_the_only_dictionary_of_weights_is_used(content, taken, caplog):
  assert_are_the_tensors(reading.unwrap(content, "a.pth"))
  warning = f"a.pth: using the weights in {taken}, the only ones present"
  assert [r.getMessage() for r in caplog.records] == [warning] * bool(taken)


@pytest.mark.parametrize(
  "content, error",
  [
    (
      {"g": TENSORS, "d": OTHER, "step": 1},
      "there are weights in each of g, d; save the state_dict of one network",
    ),
    ({"net": TENSORS, "w": np.ones(2)}, "weights in net, but also in w"),
    ({"a": {"b": {"c": TENSORS}}}, "a is a dict without floating-point"),
    ({"net": {"w": np.ones(2, int)}}, "net is a dict without floating-point"),
    ({"module.w": np.ones(2, int)}, "module.w holds int64, not floating-point"),
    ({"w": np.ones(2, int)}, "w holds int64, not floating-point"),
  ],
)
def test_no_other_dictionary_is_used(content, error, caplog):
  assert error in message(read_network, content)
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
def test_weights_outside_of_a_wrapper_are_not_dropped(content, named):
  text = message(read_network, content)
  assert ", but also in " in text
  assert named in text


def test_endless_wrappers_are_refused():
  deep = {"weight": np.ones(3, np.float32)}
  for _ in range(400):
    deep = {"params": deep, "model": deep}
  assert "params is a dict" in message(reading.unwrap, deep)
  ring = {}
  ring["params"] = ring
  assert "params is a dict" in message(reading.unwrap, ring)


@pytest.mark.parametrize(
  "content, warning",
  [
    ({"params": OTHER, "params_ema": TENSORS}, "in params_ema, not"),
    ({"generator": TENSORS, "discriminator": OTHER}, "in discriminator"),
    ({"netG": TENSORS, "netD": OTHER}, "in netG, not those in netD"),
    ({"net_g": OTHER, "ema": TENSORS}, "in ema, not those in net_g"),
    (
      {**prefixed("generator_ema."), **prefixed("generator.")},
      "in generator_ema, not those in generator",
    ),
  ],
)
def test_a_choice_among_several_is_logged(content, warning, caplog):
  assert_are_the_tensors(reading.unwrap(content, "a.pth"))
  (record,) = caplog.records
  assert record.getMessage().startswith("a.pth: using the weights in ")
  assert warning in record.getMessage()
