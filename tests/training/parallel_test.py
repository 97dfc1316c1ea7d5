"""Needs several devices, so each test runs a process of its own."""

import os
import subprocess
import sys

import pytest

from bamjax.errors import UserError
from bamjax.training import parallel

_SCRIPT = """
import numpy as np
import jax
from training import tiny
from bamjax.training.parallel import parallelize
from bamjax.training.step import train_step

state, losses = tiny.state(), []
step = parallelize(train_step, {kind!r})
for batch in tiny.batches(5):
  before = float(state.loss_sum)
  state = step(state, batch)
  losses.append(float(state.loss_sum) - before)
flat = np.concatenate([x.ravel() for x in tiny.leaves(state.params)])
np.savez({path!r}, losses=losses, params=flat, devices=jax.device_count())
"""


def run(tmp_path, kind, devices):
  import numpy as np

  path = str(tmp_path / f"{kind}{devices}.npz")
  env = {
    **os.environ,
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    "PYTHONPATH": os.pathsep.join(sys.path),
  }
  script = _SCRIPT.format(kind=kind, path=path)
  subprocess.run([sys.executable, "-c", script], env=env, check=True)
  return np.load(path)


def test_four_devices_train_as_one_does_with_pmap_and_with_jit(tmp_path):
  import numpy as np

  one = run(tmp_path, "pmap", 1)
  assert one["devices"] == 1
  for kind in ("pmap", "jit"):
    four = run(tmp_path, kind, 4)
    assert four["devices"] == 4
    np.testing.assert_allclose(four["losses"], one["losses"], rtol=2e-5)
    np.testing.assert_allclose(four["params"], one["params"], atol=2e-5)


def test_unknown_kind_is_the_users_mistake():
  with pytest.raises(UserError, match="unknown parallel"):
    parallel.parallelize(None, "threads")


def test_batch_must_be_shared_evenly(monkeypatch):
  monkeypatch.setattr(parallel.jax, "device_count", lambda: 4)
  parallel.check_batch(16)
  with pytest.raises(UserError, match="a multiple of 4"):
    parallel.check_batch(6)
