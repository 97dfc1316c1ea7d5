"""Needs several devices, so each test runs a process of its own."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from bamjax.errors import UserError
from bamjax.training import parallel
from bamjax.training.step import train_step
from training import tiny

_SCRIPT = """
import sys
import numpy as np
import jax
from training import tiny
from bamjax.training import parallel
from bamjax.training.step import train_step

path, coordinator, count, index = sys.argv[1:]
if count != "1":
  jax.distributed.initialize(
    coordinator, num_processes=int(count), process_id=int(index)
  )


def train(kind, mode):
  state, losses = parallel.replicate(tiny.state()), []
  if mode == "resident":
    advance = parallel.parallelize_resident(
      train_step, tiny.resident(), kind, seed=3, batch_size=8, patch=tiny.PATCH
    )
    batches = [1, 1, 1, 2]
  else:
    advance = parallel.parallelize(train_step, kind)
    share = slice(jax.process_index(), None, jax.process_count())
    batches = [
      {k: v[share] for k, v in batch.items()} for batch in tiny.batches(5)
    ]
  for batch in batches:
    before = float(state.loss_sum)
    state = advance(state, batch)
    losses.append(float(state.loss_sum) - before)
  params = tiny.leaves(parallel.local(state.params))
  return losses, np.concatenate([x.ravel() for x in params])


found = {"devices": jax.device_count()}
for mode in ("host", "resident"):
  # One device does the same by either, as do processes with resident data.
  one = jax.device_count() == 1 or count != "1" and mode == "resident"
  for kind in ("pmap",) if one else parallel.KINDS:
    losses, params = train(kind, mode)
    found |= {f"{mode} {kind} losses": losses, f"{mode} {kind} params": params}
if jax.process_index() == 0:
  np.savez(path, **found)
"""


def free_port():
  with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    return found.getsockname()[1]


def run(tmp_path, devices, processes=1):
  """What a number of processes, each of so many devices, have trained."""
  path = str(tmp_path / f"{devices}{processes}.npz")
  env = {
    **os.environ,
    "XLA_FLAGS": os.environ["XLA_FLAGS"]
    + f" --xla_force_host_platform_device_count={devices}",
    "PYTHONPATH": os.pathsep.join(sys.path),
  }
  coordinator = f"127.0.0.1:{free_port()}"
  args = [path, coordinator, str(processes)]
  started = [
    subprocess.Popen([sys.executable, "-c", _SCRIPT, *args, str(i)], env=env)
    for i in range(processes)
  ]
  assert [p.wait(timeout=300) for p in started] == [0] * processes
  return np.load(path)


def test_devices_and_processes_train_as_one_does(tmp_path):
  one = run(tmp_path, 1)
  assert one["devices"] == 1
  # Virtual devices of one process, then two real processes of two devices.
  for devices, processes in ((4, 1), (2, 2)):
    four = run(tmp_path, devices, processes)
    assert four["devices"] == 4
    names = set(four) - {"devices"}
    assert len(names) == (8 if processes == 1 else 6)
    for name in names:
      mode, _, kind = name.split()
      limits = {"rtol": 2e-5} if kind == "losses" else {"atol": 2e-5}
      np.testing.assert_allclose(
        four[name], one[f"{mode} pmap {kind}"], **limits
      )


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
