import functools

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
import pytest
import skimage.data

from bamjax.data.degradation import rescaling
from bamjax.errors import UserError

# Static shapes of all results here, of which images fill a part.
SOURCE, TARGET = (64, 72), (90, 110)
SIZES = [
  ((64, 72), (23, 31)),
  ((41, 53), (90, 110)),
  ((40, 60), (20, 20)),
  ((33, 57), (33, 50)),
]


@functools.partial(jax.jit, static_argnames="antialias")
def resized(image, method, source, target, antialias=False):
  return rescaling.rescale(
    image,
    TARGET,
    method,
    source_size=source,
    target_size=target,
    antialias=antialias,
  )


def compare(method, source, target, antialias, oracle, tolerance):
  """What lies beyond the source must not matter."""
  photo = skimage.data.coffee()[100:][: SOURCE[0], 200:][:, : SOURCE[1]]
  image = photo.astype(np.float32) / 255
  index = jnp.int32(rescaling.METHODS.index(method))
  (height, width), (rows, columns) = source, target
  wanted = oracle(image[:height, :width])
  found = resized(np.moveaxis(image, -1, 0), index, source, target, antialias)
  found = np.moveaxis(np.asarray(found), 0, -1)
  np.testing.assert_allclose(found[:rows, :columns], wanted, atol=tolerance)
  # The rest repeats the edge.
  assert (found[rows:, :columns] == found[rows - 1, :columns]).all()


@pytest.mark.parametrize("method", rescaling.METHODS)
def test_results_are_opencvs(method):
  cv2 = pytest.importorskip("cv2")
  flags = {
    "area": cv2.INTER_AREA,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
  }
  for source, target in SIZES:
    compare(
      method,
      source,
      target,
      False,
      lambda x, t=target: cv2.resize(x, t[::-1], interpolation=flags[method]),
      1e-5,
    )


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_antialiased_results_are_pillows(method):
  filters = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}

  def oracle(image, target):
    found = [
      Image.fromarray(np.ascontiguousarray(plane)).resize(
        target[::-1], filters[method]
      )
      for plane in np.moveaxis(image, -1, 0)
    ]
    return np.stack(found, -1)

  for source, target in SIZES:
    compare(
      method,
      source,
      target,
      True,
      functools.partial(oracle, target=target),
      1e-5,
    )


def test_mistakes():
  with pytest.raises(UserError, match="unknown way of resizing 'nearest'"):
    rescaling.rescale(np.zeros((3, 4, 4)), (2, 2), "nearest")
