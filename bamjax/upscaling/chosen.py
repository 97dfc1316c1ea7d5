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


def always(upscaler: Upscale, name: str = "") -> Choose:
  """Returns what chooses the same network for every image."""
  return lambda _: Chosen(upscaler, name)


def shipped(
  scale: int, degradation: str, load: Callable[[str], Upscale]
) -> Choose:
  """Returns what chooses among the shipped weights of a scale.

  Args:
    scale: upscaling factor.
    degradation: "clean"; "photo" for noise, blur and compression; or "auto":
      "photo" for JPEG and lossy WebP, "clean" for other images, and for all
      images of a scale that has no weights for photographs.
    load: makes the network of a name.

  Raises:
    UserError: there are no such weights, or they can't be loaded.
  """
  clean = f"pan-bam-x{scale}"
  photo = f"{clean}-photo"
  # Other networks ship, too, for those who name them.
  names = [name for name in pretrained.names() if name.startswith("pan-bam-")]
  if clean not in names:
    scales = sorted({name.split("-")[2] for name in names})
    raise UserError(
      f"no weights are shipped at ×{scale} (there are"
      f" {', '.join(scales).replace('x', '×')}); use another --scale, or a"
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
