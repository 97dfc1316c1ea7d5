"""The sweep over a plan, its rows, and a rival."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

from bamjax import benchmarking
from bamjax import create_model
from bamjax.benchmarking import compiled
from bamjax.benchmarking import machine
from bamjax.errors import UserError


def plan(**fields):
  small = dict(models=("pan",), sizes=(8,), frames=2, rounds=2)
  return benchmarking.Plan(**{**small, **fields})


def test_default_is_figure_6_on_cuda_and_small_on_a_cpu():
  cuda = benchmarking.default_plan("gpu")
  assert cuda.models == ("imdn", "drln")
  assert cuda.scales == (2, 3, 4)
  assert cuda.sizes == tuple(range(60, 241, 20))
  assert cuda.frames == 700
  assert benchmarking.default_plan("cpu").frames <= 20
  for train in (False, True):
    for backend in ("gpu", "cpu"):
      default = benchmarking.default_plan(backend, train)
      assert default.attns == ("native", "bam")
      assert default.train == train
      default.check()
  assert (default.batch_size, default.sizes) == (16, (64,))


@pytest.mark.parametrize(
  "change, message",
  [
    ({"models": ("pna",)}, "unknown model 'pna'"),
    ({"models": ()}, "no models to time"),
    ({"attns": ("bma",)}, "unknown attention 'bma'"),
    ({"scales": (7,)}, "unknown scale 7"),
    ({"sizes": (0,)}, "sizes must be at least 1"),
    ({"frames": 0}, "frames must be at least 1"),
    ({"rounds": 0}, "rounds must be at least 1"),
    ({"batch_size": 0}, "batch_size must be at least 1"),
    ({"dtype": "int8"}, "unknown dtype 'int8'"),
  ],
)
def test_invalid_plans_fail_before_anything_is_timed(change, message):
  with pytest.raises(UserError, match=message):
    benchmarking.run(plan(**change), show=lambda _: pytest.fail("timed"))


class Twin:
  """A rival that runs our own network, `factor` times its output."""

  name = "twin"

  def __init__(self, factor=1.0):
    self.factor = factor

  def environment(self):
    return {"twin": "1"}

  def forms(self, plan, model, attn, scale, size, variables):
    if attn == "bam":
      return {}
    apply = jax.jit(create_model(model, attn, scale).apply)
    pool = [compiled.as_float(x) for x in compiled.frames(plan, size)]
    return {"plain": lambda i: self.factor * apply(variables, pool[i % 4])}


def test_rows_have_documented_fields_and_a_rivals_ratio(tmp_path):
  output = tmp_path / "new" / "speed.json"
  lines = []
  got = benchmarking.run(plan(), output, lines.append, Twin())
  assert json.loads(output.read_text()) == json.loads(json.dumps(got))
  assert output.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
  native, bam = got["rows"]
  assert (native["attn"], native["kind"], bam["kind"]) == (
    "native",
    "pa",
    "bam",
  )
  for row in (native, bam):
    assert row["fps"] == pytest.approx(row["frames"] / row["total_s"])
    assert 0 < row["ms_p50"] <= row["ms_p90"]
    assert row["memory_bytes"] > 8 * 8 * 3 * 4
    assert row["macs_per_s"] == row["macs"] * row["fps_median"]
    assert row["peak_share"] == 2 * row["macs_per_s"] / got["peak_flops"]
    assert row["compile_s"] > 0
  # A rival that has no such network leaves the row without a ratio.
  assert "rival_ratio" not in bam and "rival" not in bam
  theirs = native["rival"]["forms"]["plain"]["fps_median"]
  assert native["rival_ratio"] == native["fps_median"] / theirs
  assert got["rival_ratio_geomean"] == pytest.approx(native["rival_ratio"])
  assert got["environment"]["rival"] == {"twin": "1"}


def test_a_rival_that_computes_something_else_is_an_error():
  with pytest.raises(UserError, match="is not the same network as ours"):
    benchmarking.run(plan(), show=lambda _: None, rival=Twin(1.01))


@pytest.mark.parametrize(
  "backend, setting, dtype, expected",
  [
    ("gpu", None, "float32", "tensorfloat32"),
    ("gpu", "highest", "float32", "float32"),
    ("gpu", None, "bfloat16", "bfloat16"),
    ("cpu", None, "float32", "float32"),
  ],
)
def test_tf32_is_recognized(backend, setting, dtype, expected, monkeypatch):
  monkeypatch.setattr(jax, "default_backend", lambda: backend)
  with jax.default_matmul_precision(setting):
    assert machine.precision(dtype) == expected


@pytest.mark.slow
def test_training_steps_lower_the_loss_and_count_as_one(monkeypatch):
  steps = plan(models=("edsr_baseline",), train=True, batch_size=2)
  program = compiled.build(steps, "edsr_baseline", "ca", 2, 8)
  losses = [program.run(0) for _ in range(4)]
  assert all(math.isfinite(x) for x in losses) and losses[-1] < losses[0]
  # Compiled already.
  monkeypatch.setattr(compiled, "build", lambda *_: program)
  (row,) = benchmarking.run(
    dataclasses.replace(steps, attns=("ca",)), show=lambda _: None
  )["rows"]
  assert row["fps"] == pytest.approx(row["frames"] / row["total_s"])
  assert row["macs_per_s"] == 6 * row["macs"] * row["fps_median"]


def test_frames_are_images_that_differ():
  frames = compiled.frames(plan(batch_size=3), 8)
  assert len(frames) == compiled.POOL
  assert frames[0].shape == (3, 8, 8, 3) and frames[0].dtype == np.uint8
  assert (frames[0] != frames[1]).any()
