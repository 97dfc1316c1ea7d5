"""What a degradation draws from: named mixtures, every range a field.

A range is (lowest, highest) of a uniform distribution; equal values fix it.
"""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from bamjax.data.degradation.blur import check_size
from bamjax.data.degradation.jpeg import check_subsampling
from bamjax.errors import UserError

# The lowest and the highest value.
Range = tuple[float, float]
Whole = tuple[int, int]


def between(u: jax.Array, values: Range) -> jax.Array:
  """Maps a uniform number in [0, 1) to a range."""
  low, high = values
  return low + u * (high - low)


def whole(u: jax.Array, values: Whole) -> jax.Array:
  """Maps a uniform number to an int32 of a range, both ends included."""
  low, high = int(values[0]), int(values[1])
  at = jnp.floor(u * (high - low + 1)).astype(jnp.int32)
  return jnp.minimum(low + at, high)


def _check_range(
  name: str,
  values: Range,
  lowest: float,
  highest: float = math.inf,
  *,
  above: bool = False,
) -> None:
  """Raises UserError unless values are a finite range within limits.

  Args:
    name: for the message.
    values: the range.
    lowest: allowed, unless `above`.
    highest: allowed.
    above: whether values must be above `lowest`.
  """
  shown = f"{name}={tuple(values)}"
  if len(values) != 2 or not values[0] <= values[1]:  # also NaN
    raise UserError(f"{shown} is no range: use (lowest, highest)")
  if values[0] < lowest or (above and values[0] == lowest):
    how = "above" if above else "at least"
    raise UserError(f"{shown} is out of range: it must be {how} {lowest}")
  if values[1] > highest or math.isinf(values[1]):
    limit = "finite" if math.isinf(highest) else f"at most {highest}"
    raise UserError(f"{shown} is out of range: it must be {limit}")


def _check_quality(values: Whole) -> None:
  """Raises UserError unless JPEG has qualities from the first to the second."""
  _check_range("JPEG quality", values, 1, 100)
  if any(value != int(value) for value in values):
    raise UserError(f"JPEG quality={tuple(values)}: whole numbers are needed")


def _check_kernel_size(values: Whole) -> None:
  """Raises UserError unless both sides of a range are odd and positive."""
  _check_range("kernel_size", values, 1)
  for size in values:
    check_size(size)


def _check_probabilities(name: str, *values: float) -> None:
  """Raises UserError unless values are probabilities; several add up to 1."""
  if not all(0 <= value <= 1 for value in values):
    raise UserError(f"{name}={values}: a probability must be between 0 and 1")
  if len(values) > 1 and abs(sum(values) - 1) > 1e-6:
    raise UserError(f"{name}={values}: they must add up to 1")


@dataclasses.dataclass(frozen=True)
class Bicubic:
  """The training data's own LR, unchanged."""


@dataclasses.dataclass(frozen=True)
class Noise:
  """The training data's own LR with white Gaussian noise.

  Attributes:
    sigma: standard deviation in levels of 255.
    gray_probability: how often all channels get the same noise.
  """

  sigma: Range = (0.0, 25.0)
  gray_probability: float = 0.0

  def __post_init__(self):
    _check_range("sigma", self.sigma, 0)
    _check_probabilities("gray_probability", self.gray_probability)


@dataclasses.dataclass(frozen=True)
class Jpeg:
  """The training data's own LR saved as JPEG.

  Attributes:
    quality: 1 to 100, a whole number drawn.
    subsampling: "4:2:0" or "4:4:4".
    random_grid: whether the blocks begin at a random pixel, as in a patch cut
      from an image; otherwise at the top left.
  """

  quality: Whole = (30, 95)
  subsampling: str = "4:2:0"
  random_grid: bool = True

  def __post_init__(self):
    _check_quality(self.quality)
    check_subsampling(self.subsampling)


@dataclasses.dataclass(frozen=True)
class Stage:
  """Blur, resizing and noise, in this order; then JPEG.

  Defaults are Real-ESRGAN's first stage.

  Attributes:
    blur_probability: how often there is a blur.
    kernel_size: smallest and largest side of a kernel, odd.
    kernel_probabilities: of Gaussian (isotropic, anisotropic), generalised
      Gaussian (the same two) and plateau-shaped (the same two) kernels.
    sinc_probability: how often the kernel is a sinc filter instead.
    blur_sigma: in pixels.
    gaussian_beta: shape of generalised Gaussians; below and above 1 come
      equally often.
    plateau_beta: shape of plateaus, likewise.
    resize_probabilities: of enlarging, shrinking and neither.
    resize: smallest and largest factor, beside 1.
    gaussian_probability: how often noise is Gaussian; else it is Poisson's.
    gaussian_sigma: in levels of 255.
    poisson_scale: factor of Poisson's noise.
    gray_probability: how often all channels get the same noise.
    jpeg_quality: 1 to 100.
  """

  blur_probability: float = 1.0
  kernel_size: Whole = (7, 21)
  kernel_probabilities: tuple[float, ...] = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
  sinc_probability: float = 0.1
  blur_sigma: Range = (0.2, 3.0)
  gaussian_beta: Range = (0.5, 4.0)
  plateau_beta: Range = (1.0, 2.0)
  resize_probabilities: tuple[float, ...] = (0.2, 0.7, 0.1)
  resize: Range = (0.15, 1.5)
  gaussian_probability: float = 0.5
  gaussian_sigma: Range = (1.0, 30.0)
  poisson_scale: Range = (0.05, 3.0)
  gray_probability: float = 0.4
  jpeg_quality: Whole = (30, 95)

  def __post_init__(self):
    _check_kernel_size(self.kernel_size)
    for name in ("blur_sigma", "gaussian_beta", "plateau_beta", "resize"):
      _check_range(name, getattr(self, name), 0, above=True)
    for name in ("gaussian_sigma", "poisson_scale"):
      _check_range(name, getattr(self, name), 0)
    _check_quality(self.jpeg_quality)
    _check_probabilities("kernel_probabilities", *self.kernel_probabilities)
    _check_probabilities("resize_probabilities", *self.resize_probabilities)
    for field in dataclasses.fields(self):
      if field.name.endswith("_probability"):
        _check_probabilities(field.name, getattr(self, field.name))
    if len(self.kernel_probabilities) != 6:
      raise UserError("kernel_probabilities: six are needed")
    if len(self.resize_probabilities) != 3:
      raise UserError("resize_probabilities: three are needed")


_SECOND = Stage(
  blur_probability=0.8,
  blur_sigma=(0.2, 1.5),
  resize_probabilities=(0.3, 0.4, 0.3),
  resize=(0.3, 1.2),
  gaussian_sigma=(1.0, 25.0),
  poisson_scale=(0.05, 2.5),
)


@dataclasses.dataclass(frozen=True)
class Photo:
  """HR degraded twice, as Real-ESRGAN degrades it.

  Order and ranges are those of Wang et al., "Real-ESRGAN", 2021, sections 3.1
  to 3.3 and 4.1 ("Degradation details"), and of its published configuration
  (train_realesrgan_x4plus.yml). Blur, resizing by area, bilinear or bicubic,
  Gaussian and Poisson noise and JPEG; all again, relative to LR's size; then
  the resizing to LR with a sinc filter, and the second JPEG before or after it.

  Different here: sizes are drawn for patches of the training's own size, and
  edges fall on edges, so that nothing shifts; an image's edge is repeated, not
  mirrored, to blur it; Poisson's peak is always 256, where theirs follows the
  number of levels in the image. Left out: the sharpening of HR. BSRGAN's
  (Zhang et al., 2021, section 3) shuffled order, nearest neighbour and camera
  noise are left out, too.

  Attributes:
    first: of HR; its factors are relative to HR.
    second: of the result; its factors are relative to LR.
    final_sinc_probability: how often a sinc filter follows the last resizing.
    jpeg_last_probability: how often the last JPEG follows that filter; else it
      is before the last resizing.
    subsampling: of both JPEGs, "4:2:0" or "4:4:4".
  """

  first: Stage = Stage()
  second: Stage = _SECOND
  final_sinc_probability: float = 0.8
  jpeg_last_probability: float = 0.5
  subsampling: str = "4:2:0"

  def __post_init__(self):
    for name in ("final_sinc_probability", "jpeg_last_probability"):
      _check_probabilities(name, getattr(self, name))
    check_subsampling(self.subsampling)


Mixture = Bicubic | Noise | Jpeg | Photo
MIXTURES: dict[str, type[Mixture]] = {
  "bicubic": Bicubic,
  "noise": Noise,
  "jpeg": Jpeg,
  "photo": Photo,
}


def named(name: str, options: Mapping[str, Any] | None = None) -> Mixture:
  """The mixture of a name.

  Args:
    name: one of `MIXTURES`.
    options: values of fields that differ from the defaults; those of a stage
      of `Photo` as a mapping, e.g. {"first": {"resize": (0.5, 1.2)}}.

  Raises:
    UserError: there is none, or a field does not exist or has an invalid value.
  """
  if name not in MIXTURES:
    raise UserError(
      f"unknown degradation {name!r}: use one of {', '.join(MIXTURES)}"
    )
  return _changed(MIXTURES[name](), options or {}, f"{name}: ")


def _changed(default: Any, options: Mapping[str, Any], prefix: str) -> Any:
  """A copy of a dataclass with other values of some fields."""
  names = [field.name for field in dataclasses.fields(default)]
  values = {}
  for name, value in options.items():
    if name not in names:
      known = f"it has {', '.join(names)}" if names else "it has no options"
      raise UserError(f"degradation {prefix}there is no {name}; {known}")
    before = getattr(default, name)
    if dataclasses.is_dataclass(before):
      valid = isinstance(value, Mapping)
      values[name] = valid and _changed(before, value, f"{prefix}{name}: ")
    elif isinstance(before, tuple):
      # JSON has lists only.
      valid = isinstance(value, list | tuple) and all(map(_is_number, value))
      values[name] = valid and tuple(value)
    else:
      valid = (
        _is_number(value)
        if _is_number(before)
        else isinstance(value, type(before))
      )
      values[name] = value
    if not valid:
      raise UserError(
        f"degradation {prefix}{name} can't be {value!r:.40}; by default, it is"
        f" {before!r:.60}"
      )
  return dataclasses.replace(default, **values)


def _is_number(value: Any) -> bool:
  return isinstance(value, int | float) and not isinstance(value, bool)
