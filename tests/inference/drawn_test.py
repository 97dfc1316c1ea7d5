"""Tiles equal the whole image for random networks, attentions and sizes."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from bamjax.inference import footprint
from bamjax.inference import upscaler
from bamjax.inference import windows
from bamjax.layers import ATTENTIONS
from bamjax.layers import compile_for
from models import small

QUICK, ALL = (9,), 84
SHALLOW = {
  "awsrn": dict(blocks=1, units=1, wide_features=8),
  "carn": dict(blocks=1, units=1),
  "carn_m": dict(blocks=1, units=1, groups=2),
  "drln": dict(groups=(1,)),
  "edsr": dict(blocks=1),
  "edsr_baseline": dict(blocks=1),
  "imdn": dict(blocks=1, distilled=2),
  "msrn": dict(blocks=1),
  "pan": dict(blocks=1, up_features=8),
  "rcan": dict(groups=1, blocks=1),
  "slwsr32": dict(),
}
# The deepest, which takes longest, is drawn rarely.
DEEP = "slwsr32"
NAMES = sorted(set(SHALLOW) - {DEEP})
# Sides of windows.
SIDES = (32, 64, 192)


@dataclasses.dataclass(frozen=True)
class Case:
  """A random case.

  Attributes:
    shape: shape of the image, which is cut into three tiles along one axis,
      because only a tile inside the image sees no more than its halo.
    side: direction of the kernels' heaviest tap: -1, 0 or 1, vertically and
      horizontally.
  """

  module: Any
  window: int
  halo: int
  shape: tuple[int, int, int]
  passes: int
  padded: bool
  side: tuple[int, int]
  seed: int

  @property
  def tile(self):
    return self.window - 2 * self.halo


def short_side(window):
  """Returns the short side of an image that is tiled along the other."""
  return window if window < 192 else 8


def draw(seed):
  """Draws a case; backbones and attentions take turns."""
  rng = np.random.default_rng(seed)
  name = DEEP if seed % 50 == 49 else NAMES[seed % len(NAMES)]
  kind = ATTENTIONS[seed % len(ATTENTIONS)]
  options = {"features": 8, **SHALLOW[name]}
  if name in ("imdn", "rcan", "msrn") and rng.random() < 0.3:
    options["blocks"] = 2
  scale = int(rng.choice([2, 2, 2, 3, 4]))
  module = small.create_wide(name, kind, scale=scale, **options)
  found = footprint.footprint(module)
  halo = footprint.reach(module).pixels + int(rng.choice([0, 0, 1, 2]))
  window = next(side for side in SIDES if side > 3 * halo)
  tile, padded = window - 2 * halo, bool(rng.integers(2))
  # A tiled image is at least a pixel longer than a window.
  room = min(3 * tile - window, tile if padded else 3)
  long, short = 3 * tile - int(rng.integers(room)), short_side(window)
  upright = scale == 2 and window < 192 and rng.random() < 0.5
  side = (0, 0)
  while side == (0, 0):
    side = tuple(int(n) for n in rng.integers(-1, 2, 2))
  return Case(
    module,
    window,
    halo,
    (long, short, 3) if upright else (short, long, 3),
    found.pools + int(rng.random() < 0.2),
    padded,
    side,
    seed,
  )


def strong(case):
  """Variables for which the farthest pixels have the most influence.

  Kernels have most of their weight at the edge, on one side, so that a halo one
  pixel too small changes the result. Attentions have a strong effect.
  """
  rng = np.random.default_rng(case.seed)

  def leaf(path, shape):
    path = jax.tree_util.keystr(path)
    if len(shape) != 4:
      return rng.uniform(0.2, 0.6, shape)
    taps = rng.uniform(0, 0.4, shape[:2]) / shape[0] ** 2
    half = shape[0] // 2
    taps[tuple(half * (1 + n) for n in case.side)] += 0.8
    kernel = rng.uniform(0.5, 1.5, shape) * taps[..., None, None] / shape[2]
    if "excite" in path:
      kernel *= rng.choice([-4, 4], shape)
    # Negative, where sigmoids are steep.
    return -2 * kernel if shape[0] == 7 and shape[3] == 1 else kernel

  variables = _shapes(case.module)
  variables = jax.tree_util.tree_map_with_path(
    lambda path, a: leaf(path, a.shape).astype(np.float32), variables
  )
  return _normed(variables)


def _shapes(module):
  lr = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32)
  return jax.eval_shape(module.init, jax.random.key(0), lr)


def _normed(tree):
  """Gains of weight-normalised kernels become their norms."""
  if not isinstance(tree, dict):
    return tree
  tree = {name: _normed(branch) for name, branch in tree.items()}
  if "gain" in tree:
    tree["gain"] = np.sqrt((tree["kernel"] ** 2).sum((0, 1, 2)))
  return tree


def difference(case, less=0):
  """Difference of tiles from the whole, relative to the largest value.

  Args:
    case: the drawn case.
    less: pixels by which the halo is too small.
  """
  rng = np.random.default_rng(case.seed)
  image = rng.integers(0, 2, case.shape).astype(np.float32)
  variables = strong(case)
  reach = footprint.reach(case.module).pixels
  tiled = upscaler.Upscaler(
    case.module,
    variables,
    tile=case.tile,
    halo=None if case.halo == reach and not less else case.halo - less,
    passes=case.passes,
    padded=case.padded,
  )
  assert less or tiled.tiles(*case.shape[:2]) == 3
  with compile_for("onnx"):
    # Padded; upscaler_test.py has it unpadded.
    whole = upscaler.Upscaler(case.module, variables, tile=0, padded=True)
    want = whole(image)
    return np.abs(tiled(image) - want).max() / np.abs(want).max()


@pytest.fixture(autouse=True)
def unclipped(monkeypatch):
  """Disables clipping, which could hide differences."""
  monkeypatch.setattr(upscaler, "_finished", lambda sr, dtype: sr)


def support(case):
  """Most LR pixels between an LR pixel and an SR pixel that depends on it.

  Uses the derivative. Pools return fixed values, as in tiles, so that nothing
  passes through them.
  """
  height = short_side(case.window)
  lr = np.full((1, height, case.window, 3), 0.5, np.float32)
  own = (np.ones(height, bool), np.ones(case.window, bool))

  def mean(leaf):
    # Positive, so that no ReLU is 0, and near 1 after every layer, so that
    # nothing underflows.
    value = 1 / np.prod(leaf.shape[:3]) if len(leaf.shape) == 4 else 0.1
    return np.full(leaf.shape, value, np.float32)

  variables = jax.tree.map(mean, _shapes(case.module))
  tangent = np.zeros_like(lr)
  tangent[:, height // 2, case.window // 2] = 1

  @jax.jit
  def move(variables, lr, tangent):
    moments = windows.gather(case.module, variables, lr, own)

    def upscale(lr):
      return windows.super_resolve(case.module, variables, lr, None, moments)

    return jax.jvp(upscale, (lr,), (tangent,))[1]

  with compile_for("onnx"):
    moved = np.asarray(move(variables, lr, tangent))
  moved = np.argwhere(np.any(moved != 0, axis=(0, 3))) // case.module.scale
  distances = np.abs(moved - (height // 2, case.window // 2)).max(0)
  return distances[height < case.window :]


def cases(seeds):
  slow = pytest.mark.slow
  return [
    pytest.param(seed, marks=() if seed in QUICK else slow) for seed in seeds
  ]


@pytest.mark.parametrize("seed", cases(range(ALL)))
def test_tiles_equal_the_whole_and_the_reach_is_exact(seed):
  case = draw(seed)
  assert difference(case) < 1e-5
  reach = footprint.reach(case.module).pixels
  seen = set(support(case))
  if case.module.attention.kind == "esa_cca":
    # How far it sees depends on where a pixel lies in the coarse grid.
    assert max(seen) <= reach
  else:
    assert seen == {reach}


@pytest.mark.parametrize("seed", cases([2, 5, 8, 9]))
def test_a_halo_one_pixel_too_small_changes_the_result(seed):
  case = draw(seed)
  less = 1 + case.halo - footprint.reach(case.module).pixels
  assert difference(case, less) > 1e-3
