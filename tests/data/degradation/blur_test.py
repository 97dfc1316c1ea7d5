import jax
import numpy as np
import pytest
from scipy import ndimage
from scipy import special
import skimage.data

from bamjax.data.degradation import blur
from bamjax.errors import UserError

IMAGE = skimage.data.coffee()[100:137, 200:264]
PLANES = np.moveaxis(IMAGE, -1, 0).astype(np.float32) / 255
AT = np.arange(21) - 10.0


def wanted(size, values):
  """A kernel in double precision."""
  inside = np.abs(AT) <= size // 2
  values = np.where(inside[:, None] & inside, values, 0)
  return values / values.sum()


def distance(y, x, sigma_x, sigma_y, angle):
  turn = np.array(
    [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
  )
  covariance = turn @ np.diag([sigma_x**2, sigma_y**2]) @ turn.T
  at = np.stack(np.broadcast_arrays(x, y), -1)
  return np.einsum("...i,ij,...j", at, np.linalg.inv(covariance), at)


def test_gaussians_and_plateaus():
  # Isotropic, anisotropic, generalised.
  for size, *parameters, beta in (
    (7, 0.2, 0.2, 0.0, 1.0),
    (21, 2.9, 2.9, 0.0, 1.0),
    (13, 3.0, 0.7, 0.6, 1.0),
    (21, 2.5, 0.9, -2.0, 0.5),
    (15, 1.2, 2.0, 3.0, 4.0),
  ):
    found = jax.jit(blur.gaussian_kernel)(size, *parameters, beta)
    power = distance(AT[:, None], AT, *parameters) ** beta
    expected = wanted(size, np.exp(-0.5 * power))
    np.testing.assert_allclose(found, expected, atol=2e-6)
    found = jax.jit(blur.plateau_kernel)(size, *parameters, beta)
    expected = wanted(size, 1 / (1 + power))
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_sinc():
  radius = np.hypot(AT[:, None], AT)
  centre = radius == 0
  radius[centre] = 1
  for size, cutoff in ((7, np.pi), (21, np.pi / 5), (21, np.pi)):
    found = jax.jit(blur.sinc_kernel)(size, cutoff)
    values = np.where(centre, cutoff / 2, special.j1(cutoff * radius) / radius)
    np.testing.assert_allclose(found, wanted(size, values), atol=2e-6)


def test_any_kernel_is_convolved_as_by_scipy():
  kernel = np.random.default_rng(0).random((21, 21), np.float32)
  kernel /= kernel.sum()
  found = jax.jit(blur.blur)(PLANES, kernel)
  expected = [ndimage.convolve(p, kernel, mode="nearest") for p in PLANES]
  np.testing.assert_allclose(found, expected, atol=2e-6)


def test_isotropic_blur_is_scipys():
  blurred = jax.jit(blur.gaussian_blur)
  for sigma, size in ((0.4, 7), (2.6, 15)):
    expected = [
      ndimage.gaussian_filter(p, sigma, mode="nearest", radius=size // 2)
      for p in PLANES
    ]
    np.testing.assert_allclose(
      blurred(PLANES, sigma, size), expected, atol=2e-6
    )


def test_mistakes():
  with pytest.raises(UserError, match="must be odd and positive, not 8"):
    blur.gaussian_blur(PLANES, 1.0, 8)
  with pytest.raises(UserError, match="must be odd and positive, not 4"):
    blur.blur(PLANES, np.ones((4, 4), np.float32))
  with pytest.raises(UserError, match="23 pixels: at most 21"):
    blur.sinc_kernel(23, 1.0)
  with pytest.raises(UserError, match="64×10 is too small for a blur kernel"):
    blur.blur(PLANES[:, :10], np.ones((21, 21), np.float32))
