"""CUDA graphs, as far as a CPU can show: XLA ignores their options there."""

import logging
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bamjax
from bamjax.inference import cuda_graphs


def line(weights, x, y=None):
  return weights["a"] * x + (weights["b"] if y is None else y)


WEIGHTS = {"a": jnp.float32(3), "b": jnp.float32(4)}


@pytest.fixture
def graphs(monkeypatch):
  """Graphs from the third call on; the shapes that were compiled."""
  monkeypatch.setattr(cuda_graphs, "usable", lambda: True)
  monkeypatch.setattr(cuda_graphs, "_CALLS", 3)
  compiled = []
  compile_graph = cuda_graphs._compile_graph

  def record(function, weights, *args):
    compiled.append([np.shape(x) for x in jax.tree.leaves(args)])
    return compile_graph(function, weights, *args)

  monkeypatch.setattr(cuda_graphs, "_compile_graph", record)
  return compiled


@pytest.mark.parametrize("constant", [2**25, 0])
def test_a_graph_computes_the_function(constant, monkeypatch):
  monkeypatch.setattr(cuda_graphs, "_CONSTANT", constant)
  monkeypatch.setattr(cuda_graphs, "usable", lambda: True)
  compiled, run = cuda_graphs.compile_often(line, WEIGHTS, np.float32(1))
  assert run(np.float32(2)) == 10
  arguments = len(jax.tree.leaves(compiled.in_avals))
  assert arguments == (1 if constant else 3)


def test_each_shape_becomes_a_graph_when_it_has_come_often(graphs):
  run = cuda_graphs.Repeated(line, WEIGHTS)
  for i in range(5):
    for n in (1, 2) if i < 4 else (1,):
      x = np.full(n, i, np.float32)
      np.testing.assert_array_equal(run(x), 3 * x + 4)
  assert graphs == [[(1,)], [(2,)]]
  for i in range(4):
    np.testing.assert_array_equal(run(x, x + i), 4 * x + i)
  assert graphs[2:] == [[(1,), (1,)]]


def test_no_graphs_without_an_nvidia_gpu(graphs, monkeypatch):
  monkeypatch.setattr(cuda_graphs, "usable", lambda: False)
  run = cuda_graphs.Repeated(line, WEIGHTS)
  for _ in range(5):
    assert run(np.float32(2)) == 10
  assert not graphs


def test_an_upscaler_gives_the_same_images_before_and_after(graphs):
  module = bamjax.create_model("pan", "bam", 2, blocks=1, features=8)
  variables = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
  upscale = bamjax.Upscaler(module, variables)
  image = np.random.default_rng(0).random((9, 7, 3), dtype=np.float32)
  first, *others = [upscale(image) for _ in range(5)]
  assert len(graphs) == 1
  for sr in others:
    np.testing.assert_allclose(sr, first, atol=1e-6)


def test_one_warning_where_xla_refuses(graphs, monkeypatch, caplog):
  monkeypatch.setattr(cuda_graphs, "_OPTIONS", {"xla_gpu_no_such": "1"})
  run = cuda_graphs.Repeated(line, WEIGHTS)
  with caplog.at_level(logging.WARNING):
    for n in (1, 2):
      for i in range(5):
        x = np.full(n, i, np.float32)
        np.testing.assert_array_equal(run(x), 3 * x + 4)
  assert len(graphs) == 1
  [record] = caplog.records
  assert "only costs speed" in record.getMessage()


def test_graphs_stay_out_of_the_cache(tmp_path, monkeypatch):
  """Read back from it, they ended in an error of cuDNN."""
  code = """
import sys
import jax, numpy as np
from bamjax.inference import cuda_graphs
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
function = lambda weights, x: weights * x
if sys.argv[2] == "graph":
  cuda_graphs.usable = lambda: True
  cuda_graphs.compile_often(function, np.float32(2), np.float32(1))
  assert jax.config.values["jax_persistent_cache_min_compile_time_secs"] == 0
else:
  jax.jit(function).lower(np.float32(2), np.float32(1)).compile()
"""
  import subprocess
  import sys

  for kind in ("graph", "plain"):
    folder = tmp_path / kind
    subprocess.run([sys.executable, "-c", code, folder, kind], check=True)
    files = list(Path(folder).glob("*")) if folder.exists() else []
    assert bool(files) == (kind == "plain")
