from pathlib import Path
import subprocess
import sys
import types

import jax
import psutil
import pytest

from bamjax import memory
from bamjax.errors import UserError
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


def test_files_that_can_be_dropped_are_not_in_use(groups):
  # As a container that has read large files; shared memory is not dropped.
  groups(
    "0::/\n",
    {
      "memory.max": 8 * GB,
      "memory.current": 7 * GB,
      "memory.stat": f"anon {GB}\nfile {6 * GB}\nshmem {GB}\n"
      f"inactive_file {3 * GB}\nactive_file {2 * GB}",
    },
  )
  assert host_memory() == Memory(8 * GB, 6 * GB)
  # In version 1, the totals include the groups below.
  groups(
    "4:memory:/\n",
    {
      "memory/memory.limit_in_bytes": 4 * GB,
      "memory/memory.usage_in_bytes": 3 * GB,
      "memory/memory.stat": f"inactive_file 9\ntotal_inactive_file {GB}\n"
      f"total_active_file {GB}\ntotal_rss {GB}",
    },
  )
  assert host_memory() == Memory(4 * GB, 3 * GB)


def test_addresses_that_are_left_count(groups, monkeypatch):
  limit = 10**15
  monkeypatch.setattr(memory.resource, "getrlimit", lambda _: (limit, limit))
  assert host_memory() == Memory(64 * GB, 48 * GB)
  used = psutil.Process().memory_info().vms
  limit = used + 2 * GB
  left = host_memory()
  assert left.total == left.available
  assert left.total == pytest.approx(2 * GB, rel=0.1)


def test_networks_may_use_half_of_what_a_container_leaves(groups):
  groups("0::/\n", {"memory.max": 900 * 10**6, "memory.current": 300 * 10**6})
  # 150 MB are for the program that is compiled.
  assert memory.spare_memory() == (600 - 150) / 2 * 1e6
  groups("0::/\n", {"memory.max": 400 * 10**6, "memory.current": 300 * 10**6})
  with pytest.raises(UserError, match="100 MB of memory are free.* needs 200"):
    memory.spare_memory()


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


@pytest.mark.skipif(memory.resource is None, reason="no ulimit here")
@pytest.mark.parametrize("gigabytes", [0.7, 1.2])
def test_too_few_addresses_are_one_line(gigabytes):
  limited = f'ulimit -v {int(gigabytes * 1e9) // 1024} && exec "$@"'
  done = subprocess.run(
    ["sh", "-c", limited, "sh", sys.executable, "upscale.py", "a.png"],
    cwd=Path(__file__).parents[1],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2
  (line,) = done.stderr.splitlines()
  assert f"`ulimit -v` allows {gigabytes} GB: use ulimit -v unlimited" in line
