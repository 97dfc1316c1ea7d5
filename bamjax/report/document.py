"""The page: one HTML file that needs no network.

Templates, style and script are in assets/. They are rendered with Jinja2, which
escapes every value.
"""

from collections.abc import Sequence
import dataclasses
import re
from typing import NamedTuple

import jinja2
import numpy as np

import bamjax
from bamjax.evaluation import crossed_factors
from bamjax.evaluation.comparison import SEEDS_NOTE
from bamjax.evaluation.protocols import MATLAB
from bamjax.report import curves
from bamjax.report import encode
from bamjax.report import gallery
from bamjax.report import maps
from bamjax.report.side_by_side import AnyEntry
from bamjax.report.side_by_side import Comparison
from bamjax.report.side_by_side import Entry

TEMPLATES = jinja2.Environment(
  loader=jinja2.PackageLoader("bamjax.report", "assets"),
  autoescape=True,
  trim_blocks=True,
  lstrip_blocks=True,
  undefined=jinja2.StrictUndefined,
)
TEMPLATES.globals |= {
  "gradient": encode.gradient,
  "overview": encode.OVERVIEW,
  "protocol": MATLAB.name,
  "quantiles": maps.QUANTILES,
  "version": bamjax.__version__,
}


class ScoreRow(NamedTuple):
  """A row of the table of mean scores.

  Attributes:
    entry: the network; None for bicubic upscaling.
    cells: PSNR-Y and SSIM-Y, each as text and whether it is the best.
    gain: mean gain over bicubic upscaling in dB, as text.
  """

  entry: AnyEntry | None
  cells: list[tuple[str, bool]]
  gain: str


@dataclasses.dataclass(frozen=True)
class Section:
  """A benchmark's part of the page.

  Attributes:
    comparison: what is shown.
    anchor: target of links: letters, digits and hyphens.
    scores: the table of mean scores; empty without HR.
    interval: a sentence on the difference of two networks, or "".
    figures: the images.
  """

  comparison: Comparison
  anchor: str
  scores: list[ScoreRow]
  interval: str
  figures: list[gallery.Figure]


def page(entries: Sequence[AnyEntry], comparisons: Sequence[Comparison]) -> str:
  """Renders the page.

  Args:
    entries: all networks and folders of SR images.
    comparisons: the networks' outputs on each benchmark.
  """
  images = encode.EncodedImages()
  sections = [_section(images, each) for each in comparisons]
  networks = [entry for entry in entries if isinstance(entry, Entry)]
  runs = [entry for entry in networks if entry.network.config is not None]
  return TEMPLATES.get_template("page.html").render(
    entries=entries,
    sections=sections,
    charts=list(curves.charts(runs)),
    uris=images.uris,
  )


def _section(images: encode.EncodedImages, found: Comparison) -> Section:
  anchor = re.sub(r"[^a-z0-9]+", "-", found.title.lower().replace("×", "x"))
  return Section(
    found,
    anchor.strip("-"),
    _scores(found),
    _interval(found),
    [gallery.figure(images, found, image) for image in found.shown],
  )


def _scores(found: Comparison) -> list[ScoreRow]:
  means = found.means()
  texts = [(f"{m['psnr_y']:.2f}", f"{m['ssim_y']:.4f}") for m in means]
  best = [max(column, key=float) for column in zip(*texts, strict=True)]
  rows = []
  for i, cells in enumerate(texts):
    gain = found.gain(i)
    rows.append(
      ScoreRow(
        found.entries[i - 1] if i else None,
        # Scores with equal digits are equally good.
        [(text, text == top) for text, top in zip(cells, best, strict=True)],
        "–" if not i or np.isnan(gain) else _minus(f"{gain:+.2f}"),
      )
    )
  return rows


def _interval(found: Comparison) -> str:
  """Difference of two networks over the images with finite PSNR."""
  scores = [[each["psnr_y"] for each in rows] for rows in found.scores]
  values = np.array(scores)
  values = values[1:, np.all(np.isfinite(values), axis=0)]
  if len(values) != 2 or not values.size:
    return ""
  difference = values[1] - values[0]
  bounds = crossed_factors.interval(difference[None])
  first, second = (entry.label for entry in found.entries)
  text = f"{difference.mean():+.3f} dB PSNR-Y; "
  if np.isnan(bounds.low):
    text += "a single image has no confidence interval"
  else:
    text += (
      f"95 % confidence interval of the mean {bounds.low:+.3f} to"
      f" {bounds.high:+.3f} dB"
    )
  text = _minus(text)
  if bounds.low <= 0 <= bounds.high:
    text += ", which contains 0: the difference is not significant"
  if not np.isnan(bounds.low):
    text += f". {SEEDS_NOTE}"
  return f"{second} − {first}: {text}."


def _minus(text: str) -> str:
  """Replaces the hyphens of negative numbers by minus signs."""
  return re.sub(r"-(?=\d)", "−", text)
