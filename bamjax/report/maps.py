"""The attention weights of a network for an image, as figures of the page."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from bamjax.inference.attention_maps import attention_maps
from bamjax.report import encode
from bamjax.report.side_by_side import AnyEntry
from bamjax.report.side_by_side import Entry

_FEW = 16  # up to so many attentions are shown large
_SIDES = (320, 128)  # longer side of a map: large, small
QUANTILES = (0.01, 0.99)  # of a map's weights: its darkest and brightest


@dataclasses.dataclass
class AttentionFigure:
  """The weights of one attention module.

  Attributes:
    path: names on the module's path, "block_0" and "attention".
    captions: a line on each kind of weights.
    overlay: key of the encoded map; None if there is none.
    alt: the map's text for screen readers.
    size: height and width of the features.
    bars: weights of the channels, in (0, 1); empty if there are none.
    bars_title: what the bars show.
  """

  path: list[str]
  captions: list[str] = dataclasses.field(default_factory=list)
  overlay: str | None = None
  alt: str = ""
  size: tuple[int, int] = (1, 1)
  bars: list[float] = dataclasses.field(default_factory=list)
  bars_title: str = ""


@dataclasses.dataclass(frozen=True)
class AttentionFigures:
  """The attention of one network for one image.

  Attributes:
    entry: the network.
    image: key of the encoded image below the maps.
    figures: a figure for each attention module; empty if the image is
      processed in tiles, which have no common weights.
    small: whether there are so many figures that they are shown small.
  """

  entry: Entry
  image: str
  figures: list[AttentionFigure]
  small: bool = False


def attention_figures(
  images: encode.EncodedImages, entry: AnyEntry, lr: np.ndarray, image: str
) -> AttentionFigures | None:
  """Makes the figures of a network's attention.

  Args:
    images: receives the encoded maps.
    entry: the network.
    lr: H×W×3 uint8.
    image: key of the encoded image to show below the maps.

  Returns:
    The figures; None if the entry is a network without attention, or no
    network.
  """
  if not isinstance(entry, Entry):
    return None
  network = entry.network
  if network.attn == "none":
    return None
  if entry.upscaler.tiles(*lr.shape[:2]) > 1:
    return AttentionFigures(entry, image, [])
  maps = attention_maps(network.module, network.variables, jnp.asarray(lr))
  small = len(maps) > _FEW
  figures = [
    _figure(images, path, weights, _SIDES[small])
    for path, weights in maps.items()
  ]
  return AttentionFigures(entry, image, figures, small)


def _figure(
  images: encode.EncodedImages,
  path: str,
  weights: dict[str, jax.Array],
  side: int,
) -> AttentionFigure:
  figure = AttentionFigure(path.split("/"))
  for kind, array in weights.items():
    values = np.asarray(array, np.float32)[0]
    if kind == "channel_weights":
      text = f"{values.size} channels, {values.min():.3f} to {values.max():.3f}"
      figure.bars = values.ravel().tolist()
      figure.bars_title = f"{path}: {text}"
    else:
      spatial = kind == "spatial_weights"
      text = "spatial" if spatial else "pixels, mean over channels"
      plane = values.mean(axis=-1)
      text = f"{text}, {plane.min():.3f} to {plane.max():.3f}"
      # At the border the convolution sees zeros. Its extreme weights would take
      # up most of the colours.
      low, high = np.quantile(plane, QUANTILES)
      colours = encode.colourise(plane, low, high, "viridis")
      figure.overlay = images.map(colours, side)
      figure.alt = f"{path}: {text}, bright where the weight is high"
      figure.size = plane.shape
    figure.captions.append(text)
  return figure
