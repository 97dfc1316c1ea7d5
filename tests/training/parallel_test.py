"""Several devices need a process of their own."""

import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from bamjax.errors import UserError
from bamjax.training import parallel
from bamjax.training.step import train_step
from training import devices
from training import tiny


def free_port():
  with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    return found.getsockname()[1]


def run(tmp_path, count, processes):
  """What a number of processes, each of so many devices, have trained."""
  path = str(tmp_path / f"{count}{processes}.npz")
  env = {
    **os.environ,
    "XLA_FLAGS": os.environ["XLA_FLAGS"]
    + f" --xla_force_host_platform_device_count={count}",
    "PYTHONPATH": os.pathsep.join(sys.path),
  }
  coordinator = f"127.0.0.1:{free_port()}"
  args = [path, coordinator, str(processes)]
  started = [
    subprocess.Popen([sys.executable, devices.__file__, *args, str(i)], env=env)
    for i in range(processes)
  ]
  assert [p.wait(timeout=300) for p in started] == [0] * processes
  return np.load(path)


@pytest.fixture(scope="module")
def one():
  """What one device trains."""
  if jax.device_count() != 1:
    pytest.skip("it has several devices")
  return devices.train_every_way()


@pytest.mark.parametrize(
  ("count", "processes", "ways"),
  [
    (4, 1, 4),
    # Two real processes of two devices.
    pytest.param(2, 2, 3, marks=pytest.mark.slow),
  ],
)
def test_devices_and_processes_train_as_one_does(
  one, tmp_path, count, processes, ways
):
  four = run(tmp_path, count, processes)
  assert four["devices"] == 4
  names = set(four) - {"devices"}
  assert len(names) == 2 * ways
  for name in names:
    mode, _, kind = name.split()
    limits = {"rtol": 2e-5} if kind == "losses" else {"atol": 2e-5}
    np.testing.assert_allclose(four[name], one[f"{mode} pmap {kind}"], **limits)


def test_steps_of_one_dispatch_are_those_of_many():
  options = {"seed": 3, "batch_size": 4, "patch": tiny.PATCH}
  advance = parallel.parallelize_resident(
    train_step, tiny.resident(), **options
  )
  one = parallel.replicate(tiny.state())
  for _ in range(4):
    one = advance(one, 1)
  many = advance(parallel.replicate(tiny.state()), 4)
  assert one.step == many.step == 4
  np.testing.assert_allclose(many.loss_sum, one.loss_sum, rtol=1e-5)
  for a, b in zip(*(tiny.leaves(s.params) for s in (one, many)), strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize("devices", [1, 2])
def test_several_cpu_devices_have_one_step_in_flight(monkeypatch, devices):
  if jax.default_backend() != "cpu":
    pytest.skip("for CPUs")

  class State:
    ended = False

    def block_until_ready(self):
      self.ended = True
      return self

  monkeypatch.setattr(parallel.jax, "device_count", lambda: devices)
  step = parallel._bounded(lambda state, batch: state)
  assert step(State(), None).ended == (devices == 2)


def test_unknown_kind_is_the_users_mistake():
  with pytest.raises(UserError, match="unknown parallel"):
    parallel.check("threads", 16)


def test_batch_must_be_shared_evenly(monkeypatch):
  monkeypatch.setattr(parallel.jax, "device_count", lambda: 4)
  parallel.check("pmap", 16)
  with pytest.raises(UserError, match="a multiple of 4"):
    parallel.check("pmap", 6)
  parallel.check("jit", 24, accumulate=3)
  with pytest.raises(
    UserError, match="in 3 parts each; choose a multiple of 1"
  ):
    parallel.check("jit", 16, accumulate=3)
