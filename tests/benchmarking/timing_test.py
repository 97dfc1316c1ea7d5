"""Interleaved timing, and the statistics of the paper."""

import pytest

from bamjax.benchmarking import timing


def test_rounds_take_turns_and_each_begins_with_an_uncounted_frame():
  calls = []
  runs = {
    name: lambda i, name=name: calls.append((name, i)) for name in ("a", "b")
  }
  seconds = timing.take_turns(runs, frames=3, rounds=2)
  a, b = ([(n, 0), (n, 0), (n, 1)] for n in "ab")
  assert calls == [*a, *b, *b[:2], *a[:2]]
  for rounds in seconds.values():
    assert [len(times) for times in rounds] == [2, 1]
    assert all(t > 0 for times in rounds for t in times)


def test_fps_is_frames_over_total_time():
  got = timing.summarize([[0.1, 0.2], [0.1, 0.6]])
  assert got["frames"] == 4
  assert got["fps"] == pytest.approx(4 / 1.0)
  assert got["fps_median"] == pytest.approx((1 / 0.15 + 1 / 0.35) / 2)
  assert got["fps_spread"] == pytest.approx(0.8)
  assert got["ms_p50"] == pytest.approx(150)
  assert got["ms_p90"] == pytest.approx(480)


def test_a_batch_counts_its_images():
  assert timing.summarize([[0.5]], images=4)["fps"] == pytest.approx(8)
