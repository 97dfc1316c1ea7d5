"""Which network upscales an image."""

from collections.abc import Callable
import functools
from typing import NamedTuple

from bamjax import pretrained
from bamjax.errors import UserError
from bamjax.errors import warn_once
from bamjax.images.image_file import ImageData
from bamjax.upscaling.one_image import Upscale


class Chosen(NamedTuple):
  """A network for an image.

  Attributes:
    upscaler: the network.
    name: that of its weights; "" if the user chose them.
  """

  upscaler: Upscale
  name: str = ""

  @property
  def told(self) -> str:
    """A part of the image's line."""
    return f" by {self.name}" if self.name else ""


Choose = Callable[[ImageData], Chosen]


class Preset(NamedTuple):
  """Shipped weights for images without noise and compression.

  Attributes:
    weights: their name without the scale.
    self_ensemble: whether to average over eight flips and rotations.
  """

  weights: str
  self_ensemble: bool = False

  def name(self, scale: int) -> str:
    """The name of the weights of a scale."""
    return f"{self.weights}-x{scale}"


# From the fastest to the best (docs/weights.md, "Presets").
PRESETS = {
  "fast": Preset("pan-bam"),
  "balanced": Preset("smfanet"),
  "best": Preset("smfanet", self_ensemble=True),
}
DEFAULT = "fast"
# For noise, blur and compression, whatever the preset.
_PHOTO = "pan-bam-x{}-photo"


def always(upscaler: Upscale, name: str = "") -> Choose:
  """Returns what chooses the same network for every image."""
  return lambda _: Chosen(upscaler, name)


def shipped(
  scale: int,
  degradation: str,
  load: Callable[[str], Upscale],
  preset: Preset = PRESETS[DEFAULT],
) -> Choose:
  """Returns what chooses among the shipped weights of a scale.

  Args:
    scale: upscaling factor.
    degradation: "clean"; "photo" for noise, blur and compression; or "auto":
      "photo" for JPEG and lossy WebP, "clean" for other images, and for all
      images of a scale that has no weights for photographs.
    load: makes the network of a name.
    preset: the weights that "clean" means.

  Raises:
    UserError: there are no such weights, or they can't be loaded.
  """
  clean, photo = preset.name(scale), _PHOTO.format(scale)
  names = pretrained.names()
  if clean not in names:
    scales = [f"×{s}" for s in range(2, 9) if preset.name(s) in names]
    raise UserError(
      f"no weights are shipped at ×{scale} (there are"
      f" {', '.join(scales)}); use another --scale, or a"
      " network of your own: --weights=FILE or --run_dir=DIR"
    )
  available = photo in names
  if degradation == "photo" and not available:
    photos = [name for name in names if name.endswith("-photo")]
    raise UserError(
      f"no weights for photographs are shipped at ×{scale} (there are"
      f" {', '.join(photos) or 'none'}); use --degradation=clean"
    )
  if degradation == "auto" and available:
    # Each on first use: most folders need one of them.
    once = functools.cache(lambda name: Chosen(load(name), name))
    return lambda image: once(photo if image.lossy else clean)
  name = photo if degradation == "photo" else clean
  only = Chosen(load(name), name)

  def choose(image: ImageData) -> Chosen:
    if degradation == "auto" and image.lossy:
      warn_once(
        f"no weights for photographs are shipped at ×{scale}: JPEG and lossy"
        f" WebP get {clean}, which enlarges their artifacts, too"
      )
    return only

  return choose
