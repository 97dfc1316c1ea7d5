"""Luma, PSNR and SSIM as the field reports them: jitted, in float32.

A protocol's details move the printed digits: 8-bit rounding of the SR picture,
the luma's coefficients, the border that is left out. Each is explicit here.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

# Y = 16 + coefficients · RGB, for RGB in [0, 1].
_LUMA = {
  # ITU-R BT.601 as in MATLAB's rgb2ycbcr: the literature's.
  "matlab": (65.481, 128.553, 24.966),
  # The BAM paper's released evaluation. 64.738 is a one-digit slip (the exact
  # coefficient over 256 is 65.738), kept because its scores were made with it.
  "bam": tuple(c * 255 / 256 for c in (64.738, 129.057, 25.064)),
}


def quantize(x: jax.Array) -> jax.Array:
  """Clips to [0, 1] and rounds half up to multiples of 1/255."""
  return jnp.floor(jnp.clip(x, 0, 1) * 255 + 0.5) / 255


def luma(rgb: jax.Array, standard: str = "matlab") -> jax.Array:
  """Luma Y of YCbCr.

  Args:
    rgb: …×3 in [0, 1].
    standard: "matlab" or "bam" (see `_LUMA`).

  Returns:
    float32 of shape …, in [16, 235] for "matlab".
  """
  r, g, b = _LUMA[standard]
  rgb = rgb.astype(jnp.float32)
  return 16 + r * rgb[..., 0] + g * rgb[..., 1] + b * rgb[..., 2]


def psnr(a: jax.Array, b: jax.Array, peak: float = 255.0) -> jax.Array:
  """Peak signal-to-noise ratio, in dB, of planes …×H×W; inf where equal."""
  error = jnp.mean((a - b) ** 2, axis=(-2, -1))
  return 10 * jnp.log10(peak**2 / error)


def ssim(a: jax.Array, b: jax.Array, peak: float = 255.0) -> jax.Array:
  """Structural similarity of planes.

  Args:
    a: …×H×W, at least 11×11.
    b: as a.
    peak: range of the values.

  Returns:
    Mean over the valid region of an 11×11 Gaussian window, σ 1.5, with
    K = (0.01, 0.03) and population covariances; shape ….

  Source: Wang et al. 2004.
  """
  # float32 squares near 255² would lose the variances' digits; they do not
  # depend on the origin, so take it in the middle of the range.
  a, b = a - peak / 2, b - peak / 2
  mean_a, mean_b = _blur(a), _blur(b)
  var_a = _blur(a * a) - mean_a**2
  var_b = _blur(b * b) - mean_b**2
  cov = _blur(a * b) - mean_a * mean_b
  mean_a, mean_b = mean_a + peak / 2, mean_b + peak / 2
  c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
  similarity = ((2 * mean_a * mean_b + c1) * (2 * cov + c2)) / (
    (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
  )
  return jnp.mean(similarity, axis=(-2, -1))


def shave(x: jax.Array, border: int) -> jax.Array:
  """Leaves out `border` pixels on each side of N×H×W×…."""
  return x[:, border : x.shape[1] - border, border : x.shape[2] - border]


@functools.partial(jax.jit, static_argnames=("border", "standard", "rounded"))
def luma_scores(
  sr: jax.Array,
  hr: jax.Array,
  border: int,
  standard: str = "matlab",
  rounded: bool = True,
) -> dict[str, jax.Array]:
  """PSNR-Y and SSIM-Y of each picture.

  Args:
    sr: N×H×W×3 in [0, 1]; clipped.
    hr: as sr.
    border: pixels left out on each side.
    standard: luma standard, "matlab" or "bam".
    rounded: SR is rounded to 8 bits first.

  Returns:
    `psnr_y` (dB) and `ssim_y`, (N,) float32.
  """
  # HR is rounded too, which leaves its 8 bits as they are: two ways to compute
  # k/255 may differ in the last digit, and equal pictures shall score inf.
  sr, hr = (quantize(sr), quantize(hr)) if rounded else (jnp.clip(sr, 0, 1), hr)
  a, b = (shave(luma(x, standard), border) for x in (sr, hr))
  return {"psnr_y": psnr(a, b), "ssim_y": ssim(a, b)}


def scores(sr: jax.Array, hr: jax.Array, scale: int) -> dict[str, jax.Array]:
  """`luma_scores` of the field's standard protocol (`matlab`) at a scale."""
  return luma_scores(sr, hr, border=scale)


def _blur(x: jax.Array) -> jax.Array:
  """11×11 Gaussian of σ 1.5 over the valid region of …×H×W."""
  offsets = np.arange(-5, 6)
  weights = np.exp(-(offsets**2) / (2 * 1.5**2))
  weights = jnp.asarray(weights / weights.sum(), jnp.float32)
  planes = x.reshape(-1, *x.shape[-2:], 1)
  for shape in ((11, 1, 1, 1), (1, 11, 1, 1)):
    planes = lax.conv_general_dilated(
      planes,
      weights.reshape(shape),
      (1, 1),
      "VALID",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      precision=lax.Precision.HIGHEST,
    )
  return planes.reshape(*x.shape[:-2], *planes.shape[1:3])
