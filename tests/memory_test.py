import types

import jax
import psutil
import pytest

from bamjax import memory
from bamjax.memory import device_memory
from bamjax.memory import host_memory
from bamjax.memory import Memory

GB = 10**9


@pytest.fixture
def groups(monkeypatch, tmp_path):
  """Fakes a host with 64 GB, 48 of them available, and its control groups."""
  machine = types.SimpleNamespace(total=64 * GB, available=48 * GB)
  monkeypatch.setattr(psutil, "virtual_memory", lambda: machine)
  monkeypatch.setattr(memory, "_MOUNT", tmp_path)
  monkeypatch.setattr(memory, "_MEMBERSHIP", tmp_path / "membership")

  def fake(membership, files):
    (tmp_path / "membership").write_text(membership)
    for name, value in files.items():
      path = tmp_path / name
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(f"{value}\n")

  return fake


def test_a_system_without_control_groups_has_all_of_the_hosts_memory(groups):
  assert host_memory() == Memory(64 * GB, 48 * GB)


def test_a_containers_limit_counts(groups):
  groups("0::/\n", {"memory.max": 8 * GB, "memory.current": 3 * GB})
  assert host_memory() == Memory(8 * GB, 5 * GB)


def test_less_than_nothing_is_never_available(groups):
  groups("0::/\n", {"memory.max": 8 * GB, "memory.current": 9 * GB})
  assert host_memory() == Memory(8 * GB, 0)


def test_the_smallest_limit_of_the_enclosing_groups_counts(groups):
  groups(
    "0::/slurm/job_7/step_0\n",
    {
      "slurm/job_7/step_0/memory.max": "max",
      "slurm/job_7/step_0/memory.current": GB,
      "slurm/job_7/memory.max": 16 * GB,
      "slurm/job_7/memory.current": 2 * GB,
      "slurm/memory.max": 32 * GB,
      "slurm/memory.current": 30 * GB,
      # Of another job.
      "slurm/job_8/memory.max": GB,
      "slurm/job_8/memory.current": GB,
    },
  )
  assert host_memory() == Memory(16 * GB, 2 * GB)


def test_limits_of_version_1_count(groups):
  groups(
    "9:pids:/docker/abc\n4:cpu,memory:/docker/abc\n0::/\n",
    {
      "memory/memory.limit_in_bytes": 4 * GB,
      "memory/memory.usage_in_bytes": GB,
    },
  )
  assert host_memory() == Memory(4 * GB, 3 * GB)


def test_unlimited_groups_change_nothing(groups):
  groups(
    "4:memory:/\n0::/user.slice\n",
    {
      "memory/memory.limit_in_bytes": 2**63 - 4096,
      "memory/memory.usage_in_bytes": 20 * GB,
      "user.slice/memory.max": "max",
      "user.slice/memory.current": 20 * GB,
    },
  )
  assert host_memory() == Memory(64 * GB, 48 * GB)


def test_a_device_has_what_its_allocator_may_use(monkeypatch):
  stats = {"bytes_limit": 60 * GB, "bytes_in_use": 10 * GB}
  device = types.SimpleNamespace(memory_stats=lambda: stats)
  monkeypatch.setattr(jax, "local_devices", lambda: [device])
  assert device_memory() == Memory(60 * GB, 50 * GB)


@pytest.mark.parametrize("stats", [None, {}])
def test_a_device_without_memory_of_its_own_has_none(monkeypatch, stats):
  device = types.SimpleNamespace(memory_stats=lambda: stats)
  monkeypatch.setattr(jax, "local_devices", lambda: [device])
  assert device_memory() is None
