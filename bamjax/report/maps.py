"""Attention weights as figures: maps over the image, bars of channels."""

import numpy as np

from bamjax.inference.attention_maps import attention_maps
from bamjax.report import encode
from bamjax.report.differences import Entry
from bamjax.report.markup import join
from bamjax.report.markup import Markup
from bamjax.report.markup import tag

_FEW = 16  # attentions that are shown large
_QUANTILES = (0.01, 0.99)  # of a map: darkest and brightest
_SIDES = (320, 128)  # longer side of a map: where they are few, or many


def figures(
  uris: encode.Uris, entry: Entry, lr: np.ndarray, image: str
) -> Markup | None:
  """What a network's attentions weigh; None where it has none.

  Args:
    uris: of the page.
    entry: the network.
    lr: H×W×3 uint8.
    image: key of the image that lies under the maps.
  """
  network = entry.network
  if network.attn == "none":
    return None
  if entry.upscaler.tiles(*lr.shape[:2]) > 1:
    return tag("p", "Not shown: the image is done in tiles.")
  maps = attention_maps(network.module, network.variables, lr)
  side = _SIDES[len(maps) > _FEW]
  found = [
    _figure(uris, path, weights, side, image) for path, weights in maps.items()
  ]
  grid = tag("div", *found, class_="maps" + (" many" * (len(maps) > _FEW)))
  kinds = {kind for weights in maps.values() for kind in weights}
  tools, texts = [], []
  if kinds - {"channel_weights"}:
    mix = tag("input", type="range", min=0, max=100, value=80, class_="mix")
    tools = [tag("label", "Map over image ", mix), _legend()]
  if "channel_weights" in kinds:
    texts.append("Bars: the channels' weights from 0 to 1, dashed at ½.")
  note = tag("p", *texts, class_="note") if texts else ""
  return join(tag("div", *tools, class_="controls"), note, grid)


def _legend() -> Markup:
  """What a map's colours mean."""
  low, high = (f"{100 * q:.0f} %" for q in _QUANTILES)
  bar = tag("span", class_="ramp viridis", aria_hidden="true")
  return tag(
    "span",
    "weight low ",
    bar,
    f" high ({low} to {high} of each map)",
    class_="legend",
  )


def _figure(uris, path, weights, side, image) -> Markup:
  """One attention: its map, if it has one, and its channels."""
  parts, texts = [], []
  for kind, array in weights.items():
    values = np.asarray(array, np.float32)[0]
    name = kind.removesuffix("_weights")
    if name == "channel":
      text = f"{values.size} channels, {values.min():.3f} to {values.max():.3f}"
      parts.append(_bars(values.ravel(), f"{path}: {text}"))
    else:
      text = "spatial" if name == "spatial" else "pixels, mean over channels"
      plane = values.mean(axis=-1)
      text = f"{text}, {plane.min():.3f} to {plane.max():.3f}"
      # Borders, where the conv sees zeros, would take most of the colours.
      low, high = np.quantile(plane, _QUANTILES)
      colours = encode.colourise(plane, low, high, "viridis")
      key = uris.map(colours, side)
      alt = f"{path}: {text}, bright where the weight is high"
      over = tag(
        "div",
        tag("img", data_key=image, alt=""),
        tag("img", data_key=key, alt=alt, class_="over"),
        class_="overlay",
        style=f"aspect-ratio:{plane.shape[1]}/{plane.shape[0]}",
      )
      parts.insert(0, over)
    texts.append(tag("span", text))
  # A long path breaks where a name ends.
  names = [join(f"{name}/", Markup("<wbr>")) for name in path.split("/")[:-1]]
  title = tag("b", *names, path.split("/")[-1])
  caption = tag("figcaption", title, *texts)
  return tag("figure", *parts, caption)


def _bars(values: np.ndarray, title: str) -> Markup:
  """Channel weights as bars from 0 to 1, in the channels' order."""
  path = "".join(
    f"M{i} 1V{1 - value:.3f}h.8V1z" for i, value in enumerate(values)
  )
  return tag(
    "svg",
    tag("title", title),
    tag("path", d=path, class_="bar"),
    tag("path", d=f"M0 .5H{len(values)}", class_="half"),
    viewBox=f"0 0 {len(values)} 1",
    preserveAspectRatio="none",
    role="img",
    class_="bars",
  )
