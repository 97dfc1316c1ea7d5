"""Luma, PSNR and SSIM as the field reports them: jitted, in float32.

A protocol's details move the printed digits: 8-bit rounding of the SR image,
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


WINDOW = 11  # side of SSIM's window
_PAD = 64  # images are padded to multiples of it


def luma(rgb: jax.Array, standard: str = "matlab") -> jax.Array:
  """Luma Y of YCbCr.

  Args:
    rgb: …×3, floating, in [0, 1].
    standard: "matlab" or "bam" (see `_LUMA`).

  Returns:
    float32 of shape …, in [16, 235] for "matlab".

  Raises:
    ValueError: the last axis is not 3, or the values are no floats.
  """
  if not jnp.issubdtype(rgb.dtype, jnp.floating):
    raise ValueError(f"RGB must be floating, in [0, 1]; got {rgb.dtype}")
  if rgb.shape[-1:] != (3,):
    raise ValueError(f"RGB must be …×3; got {rgb.shape}")
  weights = jnp.asarray(_LUMA[standard], jnp.float32)
  return 16 + jnp.dot(rgb.astype(jnp.float32), weights, precision="highest")


def psnr(a: jax.Array, b: jax.Array, peak: float = 255.0) -> jax.Array:
  """Peak signal-to-noise ratio of planes.

  Args:
    a: …×H×W, integers or floats. Colour images go to `scores`, or have their
      channels moved in front of H.
    b: as a.
    peak: range of the values: 255 for 8 bits, 65535 for 16, 1 for [0, 1].

  Returns:
    dB, float32, shape …; inf where all is equal.

  Raises:
    ValueError: the shapes differ or are not those of planes, or the values are
      no real numbers.
  """
  a, b = _planes(a, b)
  return _decibel(_mean((a - b) ** 2), peak)


def ssim(a: jax.Array, b: jax.Array, peak: float = 255.0) -> jax.Array:
  """Structural similarity of planes.

  Args:
    a: …×H×W, at least 11×11, integers or floats.
    b: as a.
    peak: range of the values, as for `psnr`.

  Returns:
    Mean over the valid region of an 11×11 Gaussian window, σ 1.5, with
    K = (0.01, 0.03) and population covariances; float32, shape ….

  Raises:
    ValueError: as `psnr`, or H×W is less than 11×11.

  Source: Wang et al. 2004.
  """
  a, b = _planes(a, b)
  if min(a.shape[-2:]) < WINDOW:
    raise ValueError(
      f"SSIM needs at least {WINDOW}×{WINDOW} pixels; got {a.shape}"
    )
  return _mean(_similarity(a, b, peak))


@functools.partial(jax.jit, static_argnames=("planes", "rounded"))
def scores(
  sr: jax.Array,
  hr: jax.Array,
  border: int,
  planes: str = "matlab",
  rounded: bool = True,
  size: tuple[int, int] | None = None,
) -> dict[str, jax.Array]:
  """PSNR and SSIM of each image, in dB and in [-1, 1].

  The default is the field's standard, where `border` is the scale.

  Args:
    sr: N×H×W×3, floating in [0, 1] (it is clipped), or uint8.
    hr: as sr.
    border: pixels left out on each side.
    planes: the luma of standard "matlab" or "bam", or "rgb" for all three
      channels at a range of 255.
    rounded: SR is rounded to 8 bits first.
    size: height and width of the images, where they are padded at the bottom
      and the right to H×W. Only then are compiled programs shared by images
      of different sizes.

  Returns:
    `psnr_y` and `ssim_y`, (N,) float32, or `psnr_rgb` and `ssim_rgb`, the error
    and the similarity being averaged over the channels. NaN where less than
    11×11 pixels are left inside the border.

  Raises:
    ValueError: the shapes differ or are not N×H×W×3, or the values are neither
      uint8 nor floating.
  """
  if sr.shape != hr.shape or sr.ndim != 4 or sr.shape[-1] != 3:
    raise ValueError(
      f"SR and HR must both be N×H×W×3; got {sr.shape} and {hr.shape}"
    )
  # HR is rounded too, which leaves its 8 bits as they are: two ways to compute
  # k/255 may differ in the last digit, and equal images shall score inf.
  sr, hr = (_levels(x, rounded) for x in (sr, hr))
  if planes == "rgb":
    a, b = (jnp.moveaxis(x, -1, 1) for x in (sr, hr))
  else:
    a, b = (luma(x / 255, planes)[:, None] for x in (sr, hr))
  height, width = sr.shape[1:3] if size is None else size
  error = _mean((a - b) ** 2, border, height - border, width - border)
  similarity = _mean(
    _similarity(a, b), border, height - border - 10, width - border - 10
  )
  suffix = "rgb" if planes == "rgb" else "y"
  return {
    f"psnr_{suffix}": _decibel(jnp.mean(error, axis=1)),
    f"ssim_{suffix}": jnp.mean(similarity, axis=1),
  }


def image_scores(
  sr: np.ndarray,
  hr: np.ndarray,
  border: int,
  planes: str = "matlab",
  rounded: bool = True,
) -> dict[str, float]:
  """`scores` of one image, for benchmarks of many sizes.

  Images are padded to multiples of 64 pixels, so that few programs are
  compiled.

  Args:
    sr: H×W×3, uint8, or floating in [0, 1].
    hr: as sr.
    border: see `scores`, as the rest.
    planes: …
    rounded: …

  Raises:
    ValueError: as `scores`, less than 11×11 pixels are left, or a floating HR
      is not in [0, 1].
  """
  if sr.shape != hr.shape:
    raise ValueError(f"SR is {sr.shape} and HR {hr.shape}")
  if hr.dtype.kind == "f" and hr.size and not 0 <= hr.min() <= hr.max() <= 1:
    raise ValueError(
      f"floating HR must be in [0, 1]; it is in [{hr.min():g}, {hr.max():g}]"
    )
  size = hr.shape[:2]
  if min(size) - 2 * border < WINDOW:
    raise ValueError(
      f"{size[1]}×{size[0]} pixels less a border of {border} leave no"
      f" {WINDOW}×{WINDOW} window"
    )
  pad = [(0, -n % _PAD) for n in size] + [(0, 0)]
  a, b = (np.pad(x, pad)[None] if np.any(pad) else x[None] for x in (sr, hr))
  found = scores(a, b, border, planes, rounded, size)
  return {name: float(value[0]) for name, value in found.items()}


def _planes(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Two stacks of planes …×H×W, as float32."""
  a, b = jnp.asarray(a), jnp.asarray(b)
  if a.shape != b.shape:
    raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
  if a.ndim < 2 or (a.ndim > 2 and a.shape[-1] in (1, 3, 4)):
    raise ValueError(
      f"planes are …×H×W, with no axis of channels last: {a.shape}"
    )
  for x in (a, b):
    real = jnp.issubdtype(x.dtype, jnp.integer)
    real |= jnp.issubdtype(x.dtype, jnp.floating)
    if not real:
      raise ValueError(f"the values must be integers or floats, not {x.dtype}")
  return a.astype(jnp.float32), b.astype(jnp.float32)


def _levels(image: jax.Array, rounded: bool) -> jax.Array:
  """An image, floating in [0, 1] or uint8, as float32 in [0, 255]."""
  if image.dtype == jnp.uint8:
    return image.astype(jnp.float32)
  if not jnp.issubdtype(image.dtype, jnp.floating):
    raise ValueError(
      f"images must be uint8, or floating in [0, 1]; got {image.dtype}"
    )
  levels = 255 * jnp.clip(image.astype(jnp.float32), 0, 1)
  return jnp.floor(levels + 0.5) if rounded else levels


def _decibel(error: jax.Array, peak: float = 255.0) -> jax.Array:
  return 10 * jnp.log10(float(peak) ** 2 / error)


def _mean(x: jax.Array, start=0, bottom=None, right=None) -> jax.Array:
  """Mean of …×H×W over rows start:bottom and columns start:right.

  The sides may be traced. Row by row: a float32 sum over all pixels of a large
  image would lose digits.
  """
  height, width = x.shape[-2:]
  bottom = height if bottom is None else bottom
  right = width if right is None else right
  rows, columns = jnp.arange(height)[:, None], jnp.arange(width)
  inside = (rows >= start) & (rows < bottom)
  inside &= (columns >= start) & (columns < right)
  # 0/0 where nothing is inside.
  height, width = (jnp.maximum(n - start, 0) for n in (bottom, right))
  means = jnp.sum(jnp.where(inside, x, 0), axis=-1) / width
  return jnp.sum(means, axis=-1) / height


def _similarity(a: jax.Array, b: jax.Array, peak: float = 255.0) -> jax.Array:
  """SSIM of each window: …×H×W → …×(H−10)×(W−10)."""
  # float32 squares near 255² would lose the variances' digits; they do not
  # depend on the origin, so take it in the middle of the range.
  a, b = a - peak / 2, b - peak / 2
  # All in one array, which XLA blurs in one loop. Of the variances only the sum
  # is needed.
  mean_a, mean_b, squares, product = _blur(
    jnp.stack([a, b, a * a + b * b, a * b])
  )
  variances = squares - (mean_a**2 + mean_b**2)
  covariance = product - mean_a * mean_b
  mean_a, mean_b = mean_a + peak / 2, mean_b + peak / 2
  c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
  return ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
    (mean_a**2 + mean_b**2 + c1) * (variances + c2)
  )


def _blur(x: jax.Array) -> jax.Array:
  """11×11 Gaussian of σ 1.5 over the valid region of …×H×W.

  As sums of shifted arrays, which on the CPU take a tenth of the time of XLA's
  convolution of one channel.
  """
  offsets = np.arange(WINDOW) - WINDOW // 2
  weights = np.exp(-(offsets**2) / (2 * 1.5**2))
  weights = (weights / weights.sum()).tolist()
  for axis in (x.ndim - 2, x.ndim - 1):
    length = x.shape[axis] - (WINDOW - 1)

    def shifted(i, x=x, axis=axis, length=length):
      return lax.slice_in_dim(x, i, i + length, axis=axis)

    # The window is symmetric: one product for two taps.
    half = WINDOW // 2
    x = weights[half] * shifted(half) + sum(
      weights[i] * (shifted(i) + shifted(WINDOW - 1 - i)) for i in range(half)
    )
  return x
