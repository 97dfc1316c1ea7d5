import numpy as np
import pytest

from bamjax.inference import tiling


@pytest.mark.parametrize("padded", [False, True])
def test_tiles_cover_the_axis_once_with_their_halos(padded):
  for length in range(1, 400, 7):
    axis = tiling.cut(length, 50, 9, padded)
    assert axis.window <= 68 or len(axis.spans) == 1
    owned = np.concatenate([np.arange(length)[s.own] for s in axis.spans])
    np.testing.assert_array_equal(owned, np.arange(length))
    for span in axis.spans:
      # A full halo, or the image's edge.
      assert span.window == 0 or span.start - span.window >= 9
      end = span.window + axis.window
      assert end >= length or end - span.stop >= 9
      assert span.window + np.flatnonzero(axis.valid)[-1] < length


def test_padded_lengths_are_few_and_little_longer():
  windows = [tiling.whole(n, padded=True).window for n in range(1, 5000)]
  assert len(set(windows)) == 68
  for length, window in enumerate(windows, 1):
    assert length <= window <= max(length + 31, length * 17 / 16)
