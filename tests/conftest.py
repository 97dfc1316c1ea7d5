"""Options and fixtures for all tests; slow tests run with --slow and in CI."""

import contextlib
from importlib import metadata
import os

import numpy as np
from PIL import Image
import pytest

# Compiles in an eighth of the time, by skipping passes of LLVM and a second
# code generator, and without splitting a program into 32 modules, which each
# begin anew; XLA's own passes remain. goldens_test compiles as users do.
QUICK = [
  "--xla_backend_optimization_level=0",
  "--xla_cpu_parallel_codegen_split_count=1",
  "--xla_llvm_disable_expensive_passes=true",
]
if metadata.version("jaxlib").startswith("0.10."):  # unknown to 0.12
  QUICK.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([*QUICK, os.environ.get("XLA_FLAGS", "")])


def pytest_addoption(parser):
  parser.addoption("--slow", action="store_true", help="run slow tests too")


def pytest_configure(config):
  config.addinivalue_line("markers", "slow: runs with --slow, or in CI")


def pytest_make_parametrize_id(val, argname):
  """Numbers parameters of type bytes instead of naming tests by content.

  Archives contain the time of day, but all xdist processes must collect the
  same names.
  """
  return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(config, items):
  if config.getoption("--slow") or os.environ.get("CI"):
    return
  skip = pytest.mark.skip(reason="slow; run with --slow")
  for item in items:
    if "slow" in item.keywords:
      item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def exact_products():
  """Disables TF32, the default on GPUs, which keeps 11 of 24 mantissa bits."""
  import jax

  if jax.default_backend() == "gpu":
    jax.config.update("jax_default_matmul_precision", "highest")


@pytest.fixture
def handled_signals(monkeypatch):
  """Lets the library learn of signals, as in a command."""
  from bamjax import files
  from bamjax import stopping
  from bamjax.commands import process

  monkeypatch.setattr(files, "guard", files.guard)
  monkeypatch.setattr(stopping, "caught", stopping.caught)
  process.handle_signals()


@pytest.fixture(scope="session")
def kept_folder(tmp_path_factory):
  """A folder for compiled programs, shared by all pytest processes."""
  root = tmp_path_factory.getbasetemp()
  if os.environ.get("PYTEST_XDIST_WORKER"):
    root = root.parent
  (root / "kept").mkdir(exist_ok=True)
  return str(root / "kept")


@contextlib.contextmanager
def _kept(folder):
  import jax
  from jax.experimental.compilation_cache import compilation_cache

  before = {
    name: getattr(jax.config, name)
    for name in (
      "jax_compilation_cache_dir",
      "jax_persistent_cache_min_compile_time_secs",
    )
  }
  for name, value in zip(before, (folder, 0.0), strict=True):
    jax.config.update(name, value)
  compilation_cache.reset_cache()
  try:
    yield
  finally:
    for name, value in before.items():
      jax.config.update(name, value)
    compilation_cache.reset_cache()


@pytest.fixture(scope="module")
def kept_programs(kept_folder):
  """Caches compiled programs in a folder shared by tests.

  These programs do not use oneDNN, since such programs cannot be cached.
  """
  with _kept(kept_folder):
    yield


@pytest.fixture(scope="session")
def kept_environment(kept_folder):
  """Environment variables that make scripts use the same folder."""
  return {
    "JAX_COMPILATION_CACHE_DIR": kept_folder,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
  """A folder of two small photographs to train on."""
  import skimage.data

  folder = tmp_path_factory.mktemp("photographs")
  for name in ("coffee", "chelsea"):
    crop = getattr(skimage.data, name)()[:96, :120]
    Image.fromarray(crop).save(folder / f"{name}.png")
  return folder


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, kept_folder):
  """The folder of a finished run: two steps of a very small PAN-BAM ×2."""
  from bamjax.training import loop

  images = tmp_path_factory.mktemp("images")
  rng = np.random.default_rng(0)
  for name in ("a", "b"):
    small = rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((56, 48), Image.BICUBIC)
    image.save(images / f"{name}.png")
  from bamjax.runs.recipe import changed
  from bamjax.runs.recipe import Recipe

  config = Recipe()
  config = changed(
    config,
    {
      "model": "pan",
      "steps": 2,
      "batch_size": 2,
      "model_options": {"blocks": 1, "features": 8, "up_features": 8},
      "data": {
        "source": "folder",
        "data_dir": str(images),
        "val_dir": str(images),
        "patch": 8,
      },
    },
  )
  run_dir = tmp_path_factory.mktemp("run")
  with _kept(kept_folder):
    loop.train_and_evaluate(config, run_dir)
  return run_dir
