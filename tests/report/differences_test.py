import numpy as np
import pytest

from bamjax.report import differences


def noise(seed, height, width):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (height, width, 3), np.uint8)


def test_crops_lie_where_the_networks_differ():
  base = noise(0, 200, 240) // 2
  bicubic = base + 90  # off everywhere, and no network
  a, b = base.copy(), base.copy()
  a[100:120, 150:170] += 100
  b[30:40, 20:30] += 60
  boxes = differences.crops([bicubic, a, b], count=2)
  for (top, left, height, width), (y, x) in zip(
    boxes, [(110, 160), (35, 25)], strict=True
  ):
    assert (height, width) == (50, 50)
    assert top <= y < top + height and left <= x < left + width


@pytest.mark.parametrize("shape", [(20, 90), (33, 32), (64, 64), (500, 400)])
def test_crops_are_inside_and_do_not_overlap(shape):
  boxes = differences.crops([noise(0, *shape), noise(1, *shape)])
  covered = np.zeros(shape, int)
  for top, left, height, width in boxes:
    assert 0 <= top <= shape[0] - height and 0 <= left <= shape[1] - width
    covered[top : top + height, left : left + width] += 1
  assert 1 <= len(boxes) <= differences.CROPS
  assert covered.max() == 1
