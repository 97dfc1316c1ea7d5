import os
import socket
import subprocess
import sys

import pytest

from bamjax.training.watch import Beats


def test_a_process_that_falls_silent_is_lost():
  beats = Beats([1, 2], 0.0)
  assert beats.lost(8.0, 8.0) == []
  for now in range(2, 20, 2):
    beats.hear({1: str(now), 2: str(min(now, 10))}, now)
  assert beats.lost(18.0, 8.0) == []
  assert beats.lost(18.5, 8.0) == [2]


def test_one_that_was_never_heard_of_is_lost():
  beats = Beats([0, 2], 0.0)
  beats.hear({0: "1"}, 7.0)
  assert beats.lost(9.0, 8.0) == [2]


def test_those_that_end_because_one_is_lost_are_not_named():
  beats = Beats([1, 2, 3], 0.0)
  beats.hear({1: "1", 2: "1", 3: "1"}, 2.0)
  beats.hear({1: "1", 2: "2", 3: "2"}, 4.0)
  beats.hear({1: "1", 2: "3", 3: "2"}, 20.0)
  assert beats.lost(40.0, 8.0) == [1, 3]


def _run(script, *arguments):
  return subprocess.run(
    [sys.executable, "-c", script, *arguments],
    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    capture_output=True,
    text=True,
    timeout=100,
  )


# Fails if JAX moves or changes its key-value store, which is private.
def test_signs_of_life_are_exchanged():
  with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{found.getsockname()[1]}"
  done = _run(
    """
import sys
import jax
from bamjax.training import watch

assert watch._store() is None
jax.distributed.initialize(sys.argv[1], num_processes=1, process_id=0)
assert watch._exchanged(watch._store(), 0, "1") == {0: "1"}
assert watch._exchanged(watch._store(), 1, "1") == {0: "1", 1: "1"}
assert watch._exchanged(watch._store(), 0, "2") == {0: "2", 1: "1"}
""",
    address,
  )
  assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_an_abort_in_c_waits_for_what_is_called():
  # As JAX's service does, from a thread that Python has not started.
  done = _run(
    """
import ctypes, os, threading, time
from bamjax.training import watch

def call():
  time.sleep(0.1)
  os._exit(7)

with watch._on_abort(call):
  threading.Thread(target=ctypes.CDLL(None).abort).start()
  time.sleep(60)
"""
  )
  assert done.returncode == 7, done.stderr
