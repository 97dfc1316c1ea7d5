from concurrent import futures
import contextlib
import gc
import sys

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bamjax
from bamjax.errors import UserError
from bamjax.inference import footprint
from bamjax.inference import programs
from bamjax.inference import upscaler
from bamjax.layers import ATTENTIONS
from bamjax.layers import Conv
from bamjax.memory import Memory
from models import small


@pytest.fixture(scope="module")
def network():
  module = bamjax.create_model(
    "pan", "bam", 2, blocks=1, features=8, up_features=8
  )
  footprint.reach(module)  # traces it, which the tests count
  return module, small.draw(module, jnp.zeros((1, 8, 8, 3)))


def test_uint8_floats_and_batches_give_the_same_result(network):
  upscale = bamjax.Upscaler(*network)
  image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
  sr = upscale(image)
  assert sr.shape == (18, 14, 3) and sr.dtype == np.uint8
  soft = upscale(image / np.float32(255))
  assert soft.dtype == np.float32 and 0 <= soft.min() and soft.max() <= 1
  np.testing.assert_array_equal(np.floor(soft * 255 + 0.5), sr)
  run = jax.jit(network[0].apply)
  expected = run(network[1], image[None] / np.float32(255))
  np.testing.assert_allclose(soft, np.clip(expected[0], 0, 1), atol=1e-5)
  batch = upscale(np.stack([image, image[::-1]]))
  np.testing.assert_allclose(batch[0].astype(int), sr, atol=1)


def random_image(height, width):
  rng = np.random.default_rng(0)
  return rng.random((height, width, 3), dtype=np.float32)


@pytest.mark.parametrize(
  ("height", "width", "count"),
  [(40, 40, 9), (33, 70, 15), (20, 64, 4), (90, 12, 6), (30, 30, 1)],
)
@pytest.mark.parametrize("padded", [False, True])
def test_tiles_equal_the_whole_if_the_halo_is_the_reach(
  height, width, count, padded
):
  # At most 7 convolutions of 3×3; upsampled ones reach half as far.
  module = bamjax.create_model(
    "pan", "pa", 2, blocks=1, features=8, up_features=8
  )
  lr = random_image(height, width)
  variables = small.draw(module, lr[None])
  tiled = bamjax.Upscaler(module, variables, tile=16, halo=8, padded=padded)
  whole = bamjax.Upscaler(module, variables, tile=0)
  assert tiled.tiles(height, width) == count
  assert whole.tiles(height, width) == 1
  np.testing.assert_allclose(tiled(lr), whole(lr), atol=2e-6)


class Pair(nn.Module):
  """A convolution of a list of two maps, with a skip."""

  scale: int = 1

  @nn.compact
  def __call__(self, lr):
    x = Conv(4, relu=True)(lr)
    return Conv(3)([lr, x], add=lr)


@pytest.mark.parametrize("padded", [False, True])
def test_tiles_equal_the_whole_for_lists_of_maps_and_skips(padded):
  module = Pair()
  lr = random_image(33, 40)
  variables = small.draw(module, lr[None])
  tiled = bamjax.Upscaler(module, variables, tile=16, halo=2, padded=padded)
  whole = np.clip(module.apply(variables, lr[None])[0], 0, 1)
  assert tiled.tiles(33, 40) > 1
  np.testing.assert_allclose(tiled(lr), whole, atol=2e-6)


# Every backbone, and every attention with a reach or a pool, once.
QUICK = [
  ("pan", "bam"),
  ("imdn", "cca"),
  ("edsr", "cbam"),
  ("awsrn", "bam_allpool"),
]
SLOW = [
  ("drln", "la"),
  ("carn_m", "ca"),
  ("carn", "msam_avgpool"),
  ("msrn", "acam_maxpool"),
  ("rcan", "se"),
  ("slwsr32", "msam"),
  ("edsr_baseline", "acam"),
  ("bsrn", "esa_cca"),
  ("smfanet", "bam"),
]


def test_every_backbone_and_pooling_attention_is_among_the_pairs():
  names, kinds = map(set, zip(*QUICK, *SLOW, strict=True))
  assert names == set(bamjax.list_models())
  assert kinds == set(ATTENTIONS) - {"none", "pa"}


def unclipped(upscaler, lr):
  """Disables clipping, which could hide differences."""
  sr = upscaler(lr)
  assert np.mean((sr > 0) & (sr < 1)) > 0.1
  return sr


@pytest.mark.parametrize(
  ("name", "kind"),
  [*QUICK, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in SLOW)],
)
def test_padding_and_tiles_with_the_whole_images_pools_are_exact(name, kind):
  module = small.create_wide(name, kind)
  found = footprint.footprint(module)
  lr = random_image(13, 2 * footprint.reach(module).pixels + 60)
  variables = small.draw(module, lr[None])
  whole = unclipped(bamjax.Upscaler(module, variables, tile=0), lr)
  padded = bamjax.Upscaler(module, variables, tile=0, padded=True)
  np.testing.assert_allclose(padded(lr), whole, atol=1e-5)
  tiled = bamjax.Upscaler(module, variables, tile=24, passes=found.pools)
  assert tiled.tiles(*lr.shape[:2]) > 2
  np.testing.assert_allclose(tiled(lr), whole, atol=1e-5)


def test_a_gathering_pass_takes_tiles_most_of_the_way_to_the_whole():
  module = small.create_wide("imdn", "cca", blocks=4)
  # Two different halves.
  lr = random_image(20, 80) * np.linspace(0, 1, 80, dtype=np.float32)[:, None]
  # Attentions with a strong effect.
  variables = jax.tree_util.tree_map_with_path(
    lambda path, leaf: 30 * leaf if "excite" in str(path) else leaf,
    small.draw(module, lr[None]),
  )
  whole = bamjax.Upscaler(module, variables, tile=0)(lr)
  errors = [
    np.abs(
      bamjax.Upscaler(module, variables, tile=20, passes=passes)(lr) - whole
    ).max()
    for passes in (0, 1, 2, 4)
  ]
  assert errors[0] > 5 * errors[1] > 10 * errors[2]
  assert errors[0] > 1e-5 and errors[3] < 1e-6


def test_tiled_self_ensembles_equal_whole_ones(network):
  lr = random_image(33, 50)
  whole = bamjax.Upscaler(*network, tile=0, self_ensemble=True)(lr)
  for padded in (False, True):
    tiled = bamjax.Upscaler(
      *network, tile=16, self_ensemble=True, padded=padded
    )
    np.testing.assert_allclose(tiled(lr), whole, atol=2e-6)


@contextlib.contextmanager
def compiled():
  """Yields a growing list of the shapes that the network is compiled for."""
  programs.clear()
  traced = []

  def count(call, args, kwargs, context):
    # Called whenever the network is traced.
    if not context.module.path:
      traced.append(args[0].shape[1:3])
    return call(*args, **kwargs)

  with nn.intercept_methods(count):
    yield traced


def test_images_of_similar_sizes_share_programs(network):
  upscale = bamjax.Upscaler(*network, shared=True)
  lr = random_image(30, 40)
  alone = bamjax.Upscaler(*network)(lr[:27, :38])
  with compiled() as traced:
    for height, width in ((30, 40), (27, 38), (30, 40), (29, 30), (18, 40)):
      sr = upscale(lr[:height, :width])
      assert sr.shape == (2 * height, 2 * width, 3)
      if height == 27:
        np.testing.assert_allclose(sr, alone, atol=1e-6)
  # With and without padding; the last is smaller by more than a third.
  assert traced == [(30, 40), (30, 40), (18, 40)]


def test_images_of_many_sizes_share_a_few_programs(network):
  upscale = bamjax.Upscaler(*network, tile=40, padded=True)
  rng = np.random.default_rng(0)
  with compiled() as traced:
    for height, width in rng.integers(20, 130, (12, 2)):
      sr = upscale(random_image(height, width))
      assert sr.shape == (2 * height, 2 * width, 3)
  assert 2 <= len(traced) <= 9


def test_uint16_stays_uint16(network):
  lr = np.random.default_rng(0).integers(0, 65536, (9, 7, 3), dtype=np.uint16)
  upscale = bamjax.Upscaler(*network)
  sr = upscale(lr)
  assert sr.dtype == np.uint16
  soft = upscale(lr / np.float32(65535))
  np.testing.assert_allclose(sr, soft * 65535, atol=0.6)


class Blown(nn.Module):
  """Finite weights too large for float32."""

  scale: int = 1

  @nn.compact
  def __call__(self, lr):
    return Conv(3)(Conv(4)(lr))


@pytest.mark.parametrize("tile", [0, 6])
def test_an_image_that_is_not_finite_is_refused(tile):
  module = Blown()
  lr = random_image(9, 7)
  variables = small.draw(module, lr[None])
  large = jax.tree.map(lambda x: np.full_like(x, 1e30), variables)
  mixed = jax.tree.map(lambda x: x * np.float32(1e30), variables)
  for weights in (large, mixed):  # infinite; both infinities and NaN
    for self_ensemble in (False, True):
      upscale = bamjax.Upscaler(
        module, weights, tile=tile, self_ensemble=self_ensemble
      )
      for image in (lr, np.uint8(lr * 255), np.uint16(lr * 65535)):
        with pytest.raises(UserError, match="output is not finite"):
          upscale(image)


def test_progress_is_reported_after_each_run(network):
  calls = []
  lr = random_image(40, 40)
  bamjax.Upscaler(*network, tile=20, halo=4)(lr, lambda *at: calls.append(at))
  # Four tiles, each run to gather and then to upscale.
  assert calls == [(i, 8) for i in range(1, 9)]


def test_tiles_without_a_halo_show_their_seams(network):
  lr = random_image(40, 40)
  whole = bamjax.Upscaler(*network, tile=0)(lr)
  seamy = bamjax.Upscaler(*network, tile=16, halo=0)(lr)
  near = bamjax.Upscaler(*network, tile=16, halo=4)(lr)
  assert np.abs(seamy - whole).max() > 4 * np.abs(near - whole).max()


def use_memory(monkeypatch, host, device=None):
  """Fakes all memory, in bytes, and that none of it is available now."""
  device = device and Memory(device, 0)
  monkeypatch.setattr(upscaler, "host_memory", lambda: Memory(host, 0))
  monkeypatch.setattr(upscaler, "device_memory", lambda: device)


def test_large_images_are_tiled_automatically(network, monkeypatch, caplog):
  assert bamjax.Upscaler(*network).tiles(500, 500) == 1
  use_memory(monkeypatch, host=100e6)
  upscale = bamjax.Upscaler(*network)
  assert 1 < upscale.tiles(1000, 1000) < 100
  assert upscale.tiles(64, 64) == 1
  lr = random_image(400, 130)
  use_memory(monkeypatch, host=2e6)
  few = bamjax.Upscaler(*network)(lr)
  assert "130×400 LR pixels would not fit in memory" in caplog.text
  whole = bamjax.Upscaler(*network, tile=0)(lr)
  np.testing.assert_allclose(few, whole, atol=2e-6)


def test_a_devices_memory_counts_and_not_the_hosts(network, monkeypatch):
  use_memory(monkeypatch, host=1e6, device=4e9)
  assert bamjax.Upscaler(*network).tiles(1000, 1000) == 1
  use_memory(monkeypatch, host=1e12, device=50e6)
  assert bamjax.Upscaler(*network).tiles(1000, 1000) > 1


def test_memory_can_be_passed(network):
  assert bamjax.Upscaler(*network, memory=50e6).tiles(1000, 1000) > 1
  assert bamjax.Upscaler(*network, memory=2e9).tiles(1000, 1000) == 1


def test_self_ensemble_is_the_mean_over_eight_symmetries(network):
  module, variables = network
  lr = random_image(9, 7)
  plus = bamjax.Upscaler(module, variables, self_ensemble=True)(lr)
  outputs, run = [], jax.jit(module.apply)
  for turns in range(4):
    for axes in ((), (0,)):
      x = np.rot90(np.flip(lr, axes), turns)
      y = np.rot90(run(variables, x[None])[0], -turns)
      outputs.append(np.flip(y, axes))
  want = np.clip(np.mean(outputs, axis=0), 0, 1)
  np.testing.assert_allclose(plus, want, atol=2e-6)
  plain = bamjax.Upscaler(module, variables)(lr)
  assert np.abs(plus - plain).max() > 1e-4
  # The orientation of the image does not matter.
  turned = bamjax.Upscaler(module, variables, self_ensemble=True)(np.rot90(lr))
  np.testing.assert_allclose(turned, np.rot90(plus), atol=2e-6)


@pytest.mark.parametrize("memory", [0.4e6, 0.9e6, 1e9])
def test_memory_counts_the_images_of_a_batch(memory, network, monkeypatch):
  module, variables = network
  batch = np.random.default_rng(0).random((6, 9, 7, 3), dtype=np.float32)
  needs = footprint.footprint(module).bytes_per_pixel * 9 * 7
  sizes, calls = [], []
  run = bamjax.Upscaler._run

  def record(self, program, images, *args):
    sizes.append(len(images))
    return run(self, program, images, *args)

  monkeypatch.setattr(bamjax.Upscaler, "_run", record)
  sr = bamjax.Upscaler(module, variables, memory=memory)(
    batch, lambda *at: calls.append(at)
  )
  assert sum(sizes) == 6 and len(set(sizes)) == 1
  assert sizes[0] == 1 or sizes[0] * needs <= memory
  assert sizes[0] == 6 or 2 * sizes[0] * needs > memory
  assert calls == [(i + 1, len(sizes)) for i in range(len(sizes))]
  want = bamjax.Upscaler(module, variables)(batch)
  np.testing.assert_allclose(sr, want, atol=1e-6)


def test_few_programs_are_kept(network, monkeypatch):
  monkeypatch.setattr(programs, "KEPT", 2)
  upscale = bamjax.Upscaler(*network)
  client = jax.devices()[0].client
  with compiled() as traced:
    upscale.warm_up([(9, 7), (9, 8)])
    kept = len(client.live_executables())
    assert traced == [(9, 7), (9, 8)]
    for width in (8, 7, 9, 10, 7, 10):
      upscale(random_image(9, width))
    # Of 9×7, after two others had been used.
    assert traced[2:] == [(9, 9), (9, 10), (9, 7)]
    assert len(programs._programs) == 2
    gc.collect()
    assert len(client.live_executables()) <= kept


def test_threads_share_sizes(network, monkeypatch):
  def run(self, program, images, plan, *args):
    sides = [2 * axis.window for axis in plan]
    return np.zeros((len(images), *sides, 3), np.float32)

  monkeypatch.setattr(bamjax.Upscaler, "_run", run)
  upscale = bamjax.Upscaler(*network, shared=True)
  interval = sys.getswitchinterval()
  sys.setswitchinterval(1e-6)
  try:
    with futures.ThreadPoolExecutor(4) as pool:
      images = [np.zeros((8 + i % 60, 8 + i // 60, 3)) for i in range(900)]
      for image, sr in zip(images, pool.map(upscale, images), strict=True):
        assert sr.shape == (2 * image.shape[0], 2 * image.shape[1], 3)
  finally:
    sys.setswitchinterval(interval)


def test_negative_tiles_are_refused(network):
  for options in (
    {"tile": float("inf")},
    {"tile": float("nan")},
    {"tile": 16.0},
    {"tile": True},
    {"halo": 1.5},
    {"passes": False},
    {"memory": True},
    {"tile": -1},
    {"tile": "auto"},
    {"halo": -1},
    {"passes": -1},
    {"passes": None},
    {"memory": -1},
    {"memory": float("nan")},
  ):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"{name} must be .* got {value!r}"):
      bamjax.Upscaler(*network, **options)


def test_gigabytes_and_modules_without_a_scale_are_refused(network):
  with pytest.raises(ValueError, match="memory is in bytes, e.g. 2e9; got 2"):
    bamjax.Upscaler(*network, memory=2)
  with pytest.raises(ValueError, match="Dense has no upscaling factor"):
    bamjax.Upscaler(nn.Dense(3), {})


def test_parameters_alone_are_refused(network):
  module, variables = network
  with pytest.raises(ValueError, match="variables must be"):
    bamjax.Upscaler(module, variables["params"])


def test_bfloat16_images_are_images(network):
  lr = np.random.default_rng(0).random((9, 7, 3)).astype(jnp.bfloat16)
  upscale = bamjax.Upscaler(*network)
  sr = upscale(jnp.asarray(lr))
  assert sr.dtype == np.float32
  np.testing.assert_array_equal(sr, upscale(lr.astype(np.float32)))


def test_other_shapes_are_refused(network):
  with pytest.raises(ValueError, match="H×W×3"):
    bamjax.Upscaler(*network)(np.zeros((9, 7), np.uint8))
  with pytest.raises(ValueError, match="uint8 or uint16 or float"):
    bamjax.Upscaler(*network)(np.zeros((9, 7, 3), np.int64))
  with pytest.raises(ValueError, match=r"in \[0, 1\]; got .* 200\]"):
    bamjax.Upscaler(*network)(np.float32([[[0, 100, 200]]]))
  with pytest.raises(ValueError, match="finite"):
    bamjax.Upscaler(*network)(np.full((9, 7, 3), np.nan))
