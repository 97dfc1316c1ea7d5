"""Luma, PSNR and SSIM as the field reports them, jitted, in float32.

Images are uint8, or floats in [0, 1] that may overshoot as far as
`bamjax.pixels` says. Values are not checked under `jax.jit`.

Three details change the printed digits and are explicit here: whether SR is
rounded to 8 bits, the coefficients of luma, and the border that is cropped.
"""

import functools
import math
import operator

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from bamjax import pixels
from bamjax.pixels import Array

# Y = 16 + coefficients · RGB, for RGB in [0, 1].
_LUMA = {
  # ITU-R BT.601, as in MATLAB's rgb2ycbcr, which the literature uses.
  "matlab": (65.481, 128.553, 24.966),
  # The BAM paper's released evaluation. 64.738 is a typing error (65.738 is
  # right), which is kept because the paper's scores were computed with it.
  "bam": tuple(c * 255 / 256 for c in (64.738, 129.057, 25.064)),
}


WINDOW = 11  # side of SSIM's window, in pixels
_PAD = 64  # `image_scores` pads images to multiples of it, in pixels


def luma(rgb: Array, standard: str = "matlab") -> jax.Array:
  """Computes luma, the Y of YCbCr.

  Args:
    rgb: …×3, floating, in [0, 1].
    standard: "matlab" (ITU-R BT.601), or "bam" (the BAM paper's evaluation).

  Returns:
    float32 of shape …; in [16, 235] for "matlab".

  Raises:
    ValueError: rgb is not …×3, or not floating in [0, 1], or the standard is
      unknown.
  """
  if standard not in _LUMA:
    raise ValueError(
      f"unknown luma {standard!r}; choose from {', '.join(_LUMA)}"
    )
  rgb = pixels.as_array(rgb)
  pixels.check(rgb, "RGB", ())
  if rgb.shape[-1:] != (3,):
    raise ValueError(f"RGB must be …×3; got {rgb.shape}")
  weights = jnp.asarray(_LUMA[standard], jnp.float32)
  return 16 + jnp.dot(rgb.astype(jnp.float32), weights, precision="highest")


def psnr(a: Array, b: Array, peak: float | None = None) -> jax.Array:
  """Computes the peak signal-to-noise ratio of planes.

  For colour images, use `scores`, or move the channels in front of H.

  Args:
    a: …×H×W, integers or floats.
    b: same shape as a.
    peak: range of the values: 255 for 8 bits, 65535 for 16, 1 for [0, 1]. None
      is 255, except for uint16, and floats in [0, 1], which need it.

  Returns:
    dB, float32, shape …; inf for equal planes.

  Raises:
    ValueError: the shapes differ or have channels last, a dtype is neither
      integer nor floating, a value is not finite, or the peak is missing or not
      that of the values.
  """
  a, b = _planes(a, b)
  peak = _peak_of(a, b, peak)
  a, b = _floats(a, b)
  return _decibel(_mean((a - b) ** 2), peak)


def ssim(a: Array, b: Array, peak: float | None = None) -> jax.Array:
  """Computes the structural similarity of planes.

  The mean over all positions of an 11×11 Gaussian window, σ 1.5, inside the
  planes, with K = (0.01, 0.03) and population covariances.

  Args:
    a: …×H×W, at least 11×11, integers or floats.
    b: same shape as a.
    peak: range of the values: 255 for 8 bits, 65535 for 16, 1 for [0, 1]. None
      is 255, except for uint16, and floats in [0, 1], which need it.

  Returns:
    In [-1, 1], float32, shape ….

  Raises:
    ValueError: as of `psnr`, or the planes are less than 11×11.

  Source: Wang et al. 2004, eq. 13 and section III-C.
  """
  a, b = _planes(a, b)
  peak = _peak_of(a, b, peak)
  a, b = _floats(a, b)
  if min(a.shape[-2:]) < WINDOW:
    raise ValueError(
      f"SSIM needs at least {WINDOW}×{WINDOW} pixels; got {a.shape}"
    )
  return _mean(_similarity(a, b, peak))


def scores(
  sr: Array,
  hr: Array,
  border: int,
  planes: str = "matlab",
  rounded: bool = True,
  size: tuple[int, int] | None = None,
) -> dict[str, jax.Array]:
  """Computes PSNR and SSIM of each image of a batch.

  By default, they are the field's standard if `border` is the scale.

  Args:
    sr: RGB, N×H×W×3, uint8, or floating in [0, 1]. What overshoots is clipped.
    hr: the same.
    border: pixels to crop on each side.
    planes: "matlab" or "bam" for luma by that standard, or "rgb" for all three
      channels in [0, 255].
    rounded: whether to round images to 8 bits first.
    size: height and width of the images, if they are padded to H×W at the
      bottom and right. Pass it for images of different sizes to share a
      compiled program.

  Returns:
    `psnr_y` in dB and `ssim_y` in [-1, 1], (N,) float32; for "rgb", `psnr_rgb`
    and `ssim_rgb`, with squared error and similarity averaged over channels.
    NaN if less than 11×11 pixels are left inside the border.

  Raises:
    ValueError: the shapes differ or are not N×H×W×3, H or W is less than 11, an
      image is neither uint8 nor floating in [0, 1], `planes` is unknown, or
      `border` or `size` is no number of pixels of the images.
  """
  sr, hr = _images(sr, hr, "N×H×W×3", border, planes)
  if size is not None:
    for side, most in zip(size, sr.shape[1:3], strict=True):
      _check_pixels("size", side, most)
  return _scores(sr, hr, border, planes, rounded, size)


def _images(
  sr: Array, hr: Array, form: str, border: int, planes: str
) -> tuple[Array, Array]:
  """Checks images to score, and what `scores` and `image_scores` share."""
  sr, hr = pixels.as_array(sr), pixels.as_array(hr)
  if sr.shape != hr.shape:
    raise ValueError(f"SR is {sr.shape}, but HR is {hr.shape}")
  if sr.ndim != len(form.split("×")) or sr.shape[-1] != 3:
    raise ValueError(f"SR and HR must be {form}; got {sr.shape}")
  if planes not in ("rgb", *_LUMA):
    raise ValueError(
      f"unknown planes {planes!r}; choose from rgb, {', '.join(_LUMA)}"
    )
  height, width = sr.shape[-3:-1]
  _check_pixels("border", border, max(height, width))
  if min(height, width) < WINDOW:
    raise ValueError(
      f"{width}×{height} pixels are less than SSIM's window of"
      f" {WINDOW}×{WINDOW}"
    )
  pixels.check(sr, "SR")
  pixels.check(hr, "HR")
  return sr, hr


def _check_pixels(name: str, value: int | jax.Array, most: int) -> None:
  """Checks a number of pixels, unless it is known only when compiled."""
  if isinstance(value, jax.core.Tracer):
    return
  try:
    fits = 0 <= operator.index(value) <= most
  except TypeError:
    fits = False
  if not fits:
    raise ValueError(
      f"{name} must be a whole number of pixels from 0 to {most}; got {value}"
    )


@functools.partial(jax.jit, static_argnames=("planes", "rounded"))
def _scores(
  sr: jax.Array,
  hr: jax.Array,
  border: int,
  planes: str,
  rounded: bool,
  size: tuple[int, int] | None,
) -> dict[str, jax.Array]:
  # Rounds HR, too: it has 8 bits already, but two ways to compute k/255 may
  # differ in the last digit, and the PSNR of equal images must be inf.
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
  sr: Array,
  hr: Array,
  border: int,
  planes: str = "matlab",
  rounded: bool = True,
) -> dict[str, float]:
  """Computes `scores` of one image, for test sets with images of many sizes.

  Pads images to multiples of 64 pixels, so that few programs are compiled. The
  padding is masked out and does not affect the result.

  Args:
    sr: RGB, H×W×3, uint8, or floating in [0, 1]. What overshoots is clipped.
    hr: the same.
    border: pixels to crop on each side.
    planes: "matlab" or "bam" for luma by that standard, or "rgb" for all three
      channels in [0, 255].
    rounded: whether to round images to 8 bits first.

  Returns:
    `psnr_y` in dB and `ssim_y` in [-1, 1], or `psnr_rgb` and `ssim_rgb`.

  Raises:
    ValueError: as of `scores`, or less than 11×11 pixels are left inside the
      border.
  """
  sr, hr = _images(sr, hr, "H×W×3", border, planes)
  size = hr.shape[:2]
  if min(size) - 2 * border < WINDOW:
    raise ValueError(
      f"{size[1]}×{size[0]} pixels without a border of {border} are less than"
      f" SSIM's window of {WINDOW}×{WINDOW}"
    )
  pad = [(0, -n % _PAD) for n in size] + [(0, 0)]
  a, b = (np.pad(x, pad)[None] if np.any(pad) else x[None] for x in (sr, hr))
  found = _scores(a, b, border, planes, rounded, size)
  return {name: float(value[0]) for name, value in found.items()}


def _planes(a: Array, b: Array) -> tuple[Array, Array]:
  """Checks the shapes and dtypes of two stacks of planes, …×H×W."""
  a, b = pixels.as_array(a), pixels.as_array(b)
  if a.shape != b.shape:
    raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
  if a.ndim < 2 or (a.ndim > 2 and a.shape[-1] in (1, 3, 4)):
    raise ValueError(
      f"planes must be …×H×W, without channels last; got {a.shape}"
    )
  for x in (a, b):
    real = jnp.issubdtype(x.dtype, jnp.integer)
    real |= jnp.issubdtype(x.dtype, jnp.floating)
    if not real:
      raise ValueError(f"values must be integers or floats; got {x.dtype}")
  return a, b


def _floats(a: Array, b: Array) -> tuple[jax.Array, jax.Array]:
  a, b = jnp.asarray(a), jnp.asarray(b)
  return a.astype(jnp.float32), b.astype(jnp.float32)


def _peak_of(a: Array, b: Array, peak: float | None) -> float:
  """The range of the values of two stacks of planes: 255 if it is not given.

  Raises:
    ValueError: it has to be given, or can't be that of the values.
  """
  if peak is None and "uint16" in (a.dtype.name, b.dtype.name):
    raise ValueError("planes of uint16 need peak=65535, or that of their bits")
  if peak is not None and not 0 < peak < math.inf:
    raise ValueError(f"peak must be a number above 0; got {peak}")
  limits = [y for x in (a, b) if (y := pixels.bounds(x, "planes"))]
  low = min((least for least, _ in limits), default=0)
  high = max((most for _, most in limits), default=0)
  floating = jnp.issubdtype(jnp.result_type(a, b), jnp.floating)
  if peak is None and floating and -1 <= low < high <= 1:
    raise ValueError(
      f"planes with values in [{low:g}, {high:g}] need a peak: 1 for [0, 1]"
    )
  peak = 255.0 if peak is None else peak
  # Twice: what is noisy, or not clipped, overshoots.
  if high - low > 2 * peak:
    raise ValueError(
      f"planes with values in [{low:g}, {high:g}] have another peak than"
      f" {peak:g}: pass theirs"
    )
  return peak


def _levels(image: jax.Array, rounded: bool) -> jax.Array:
  """Converts an image, floating in [0, 1] or uint8, to float32 in [0, 255]."""
  if image.dtype == jnp.uint8:
    return image.astype(jnp.float32)
  levels = 255 * jnp.clip(image.astype(jnp.float32), 0, 1)
  return jnp.floor(levels + 0.5) if rounded else levels


def _decibel(error: jax.Array, peak: float = 255.0) -> jax.Array:
  return 10 * jnp.log10(float(peak) ** 2 / error)


def _mean(
  x: jax.Array,
  start: int = 0,
  bottom: jax.Array | int | None = None,
  right: jax.Array | int | None = None,
) -> jax.Array:
  """Mean of …×H×W over rows start:bottom and columns start:right.

  Sums row by row, because a float32 sum over all pixels of a large image would
  lose digits.
  """
  height, width = x.shape[-2:]
  bottom = height if bottom is None else bottom
  right = width if right is None else right
  rows, columns = jnp.arange(height)[:, None], jnp.arange(width)
  inside = (rows >= start) & (rows < bottom)
  inside &= (columns >= start) & (columns < right)
  # NaN, 0/0, if nothing is inside.
  inner_height, inner_width = (
    jnp.maximum(n - start, 0) for n in (bottom, right)
  )
  means = jnp.sum(jnp.where(inside, x, 0), axis=-1) / inner_width
  return jnp.sum(means, axis=-1) / inner_height


def _similarity(a: jax.Array, b: jax.Array, peak: float = 255.0) -> jax.Array:
  """SSIM of each window: …×H×W → …×(H−10)×(W−10)."""
  # Centres the range at 0, which changes no variance, because float32 squares
  # near 255² would lose its digits.
  a, b = a - peak / 2, b - peak / 2
  # One array, which XLA blurs in one loop. Only the sum of the variances is
  # needed.
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
  """11×11 Gaussian blur of σ 1.5: …×H×W → …×(H−10)×(W−10).

  Sums shifted arrays, which takes a tenth of the time of XLA's convolution of
  one channel on the CPU.
  """
  offsets = np.arange(WINDOW) - WINDOW // 2
  weights = np.exp(-(offsets**2) / (2 * 1.5**2))
  weights = (weights / weights.sum()).tolist()
  for axis in (x.ndim - 2, x.ndim - 1):
    length = x.shape[axis] - (WINDOW - 1)

    def shifted(
      i: int, x: jax.Array = x, axis: int = axis, length: int = length
    ) -> jax.Array:
      return lax.slice_in_dim(x, i, i + length, axis=axis)

    # The window is symmetric: one product for each pair of taps.
    half = WINDOW // 2
    x = weights[half] * shifted(half) + sum(
      weights[i] * (shifted(i) + shifted(WINDOW - 1 - i)) for i in range(half)
    )
  return x
