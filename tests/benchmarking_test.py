"""The speed measure, and benchmark.py as a user runs it."""

import json
from pathlib import Path
import subprocess
import sys

import jax.numpy as jnp
import pytest

from bamjax import benchmarking
from bamjax.errors import UserError

ROOT = Path(__file__).parent.parent


def script(*flags):
  return subprocess.run(
    [sys.executable, str(ROOT / "benchmark.py"), *flags],
    capture_output=True,
    text=True,
    timeout=300,
  )


def test_every_frame_is_timed_once():
  seen = []
  seconds = benchmarking.time_frames(
    lambda x: seen.append(x) or x, [jnp.zeros(1)] * 5
  )
  assert len(seconds) == len(seen) == 5
  assert min(seconds) > 0


def test_fps_is_frames_over_total_time():
  got = benchmarking.summarize([0.1, 0.2, 0.1, 0.6])
  assert got["fps"] == pytest.approx(4 / 1.0)
  assert got["ms_median"] == pytest.approx(150)
  assert got["ms_p90"] == pytest.approx(480)


def test_rounds_take_turns_and_warm_up_is_not_counted(monkeypatch):
  calls = []

  def fake(name, attn, scale, size, dtype):
    return lambda x: calls.append(attn) or x, 1.5

  monkeypatch.setattr(benchmarking, "compile_step", fake)
  rows = benchmarking.compare("pan", ("native", "bam"), 2, 8, frames=6)
  warm_up = 2 * benchmarking.WARM_UP
  turns = ["native"] * 2 + ["bam"] * 4 + ["native"] * 3 + ["bam"] * 2
  assert calls[warm_up:] == [*turns, "native"]
  assert [(r["attn"], r["frames"]) for r in rows] == [("native", 6), ("bam", 6)]
  assert {r["compile_s"] for r in rows} == {1.5}


def test_default_is_figure_6_on_cuda_and_small_on_a_cpu():
  cuda = benchmarking.default_plan("gpu")
  assert cuda.scales == (2, 3, 4)
  assert cuda.sizes == tuple(range(60, 241, 20))
  assert cuda.frames == 700
  assert benchmarking.default_plan("cpu").frames < 20
  for plan in (cuda, benchmarking.default_plan("cpu")):
    assert plan.attns == ("native", "bam")
    plan.check()


@pytest.mark.parametrize(
  "change, message",
  [
    ({"models": ("pna",)}, "unknown model 'pna'"),
    ({"models": ()}, "no models given"),
    ({"attns": ("bma",)}, "unknown attention 'bma'"),
    ({"scales": (7,)}, "unknown scale 7"),
    ({"sizes": (0,)}, "sizes must be at least 1"),
    ({"frames": 0}, "frames must be at least 1"),
    ({"dtype": "int8"}, "unknown dtype 'int8'"),
  ],
)
def test_mistakes_are_told_before_anything_is_timed(change, message):
  plan = benchmarking.Plan(**{"models": ("pan",), **change})
  with pytest.raises(UserError, match=message):
    benchmarking.run(plan, show=lambda _: pytest.fail("timed"))


def test_script_writes_the_table_and_the_json(tmp_path):
  output = tmp_path / "new" / "speed.json"
  done = script("--models=pan", "--sizes=8", "--frames=2", f"--output={output}")
  assert done.returncode == 0, done.stderr
  result = json.loads(output.read_text())
  assert {"device", "jax", "jaxlib", "flax"} <= set(result["environment"])
  assert result["flags"]["models"] == ["pan"]
  assert result["flags"]["frames"] == 2
  rows = result["rows"]
  assert [row["attn"] for row in rows] == ["native", "bam"]
  for row in rows:
    assert (row["model"], row["scale"], row["size"]) == ("pan", 2, 8)
    assert row["fps"] == pytest.approx(row["frames"] / row["total_s"])
    assert 0 < row["ms_p50"] == row["ms_median"] <= row["ms_p90"]
    assert row["compile_s"] > 0
    assert f"{row['fps']:.2f}" in done.stdout


@pytest.mark.parametrize(
  "flag, message",
  [
    ("--models=pna", "unknown model 'pna'"),
    ("--sizes=big", "--sizes takes whole numbers"),
    ("--frams=3", "Unknown command line flag 'frams'"),
  ],
)
def test_script_tells_a_mistake_in_one_line(flag, message):
  done = script(flag)
  assert done.returncode == 2
  assert "Traceback" not in done.stderr
  last = done.stderr.splitlines()[-1]
  assert last.startswith("benchmark.py: error: ") and message in last


def test_imports_neither_tensorflow_nor_torch():
  code = (
    "import sys, benchmark, bamjax.benchmarking as b; b.default_plan();"
    " print({'tensorflow', 'torch'} & set(sys.modules))"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
  )
  assert done.stdout.strip() == "set()", done.stderr
