"""The page: one file of HTML that needs no network."""

from collections.abc import Sequence
import importlib.resources
import json
import re

import numpy as np

import bamjax
from bamjax import complexity
from bamjax.evaluation import comparison
from bamjax.evaluation.protocols import MATLAB
from bamjax.report import curves
from bamjax.report import encode
from bamjax.report import gallery
from bamjax.report.differences import Comparison
from bamjax.report.differences import Entry
from bamjax.report.markup import join
from bamjax.report.markup import Markup
from bamjax.report.markup import tag


def page(entries: Sequence[Entry], found: Sequence[Comparison]) -> str:
  """The whole page.

  Args:
    entries: all networks that are compared.
    found: the comparisons.
  """
  uris, data = encode.Uris(), []
  sections = [(_title(each), _benchmark(uris, data, each)) for each in found]
  if curves_of_runs := _training(entries):
    sections.append(("Training", curves_of_runs))
  main = tag("main", *(part for _, part in sections))
  payload = {"uris": uris.keyed, "images": data}
  # In a script, only "</" and "<!--" would end or change the text.
  text = json.dumps(payload, separators=(",", ":")).replace("<", "\\u003c")
  head = tag(
    "head",
    tag("meta", charset="utf-8"),
    tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
    tag("title", "Super-resolution, side by side"),
    tag("style", Markup(_asset("page.css"))),
  )
  body = tag(
    "body",
    tag("noscript", tag("p", "The images of this page need JavaScript.")),
    _header(entries, [title for title, _ in sections]),
    main,
    _footer(),
    tag("script", Markup(text), type="application/json", id="data"),
    tag("script", Markup(_asset("page.js"))),
  )
  return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def _asset(name: str) -> str:
  file = importlib.resources.files(__package__) / "assets" / name
  return file.read_text(encoding="utf-8")


def _anchor(title: str) -> str:
  """An id for links, of letters, digits and hyphens."""
  text = title.lower().replace("×", "x")
  return re.sub(r"[^a-z0-9]+", "-", text).strip("-")


def _title(found: Comparison) -> str:
  return f"{found.benchmark} ×{found.scale}"


def _header(entries: Sequence[Entry], titles: Sequence[str]) -> Markup:
  """What is compared, and where on the page."""
  rows = []
  for entry in entries:
    network = entry.network
    count = complexity.parameters(network.module, network.variables)
    step = "" if network.step is None else f", step {network.step:,}"
    rows.append(
      tag(
        "li",
        tag("span", class_=f"swatch n{entry.colour}"),
        tag("b", entry.label),
        f" {count / 1000:,.1f}K parameters",
        tag("span", f"{network.source}{step}", class_="source"),
      )
    )
  links = [tag("a", title, href=f"#{_anchor(title)}") for title in titles]
  return tag(
    "header",
    tag("h1", "Super-resolution, side by side"),
    tag("ul", *rows, class_="networks"),
    tag("nav", *links, aria_label="Sections") if len(links) > 1 else "",
  )


def _benchmark(uris, data, found: Comparison) -> Markup:
  """A benchmark's scores and images."""
  shown, total = len(found.shown), len(found.names)
  many = "All images" if shown == total else f"{shown} of {total} images"
  rival = (
    "the networks differ"
    if len(found.entries) > 1
    else "the network differs from bicubic"
  )
  return tag(
    "section",
    tag("h2", _title(found)),
    _scores(found),
    tag(
      "p",
      f"{many} below, those first on which {rival} most. Crops are cut where"
      f" {rival} most, and are lossless; whole images are compressed.",
      class_="note",
    ),
    *(gallery.section(uris, data, found, p) for p in found.shown),
    id=_anchor(_title(found)),
  )


def _scores(found: Comparison) -> Markup:
  """Mean scores, the best in bold."""
  means = found.means()
  if not means:
    return tag("p", "Not scored: there are no HR images.", class_="note")
  texts = [(f"{m['psnr_y']:.2f}", f"{m['ssim_y']:.4f}") for m in means]
  best = [max(column, key=float) for column in zip(*texts, strict=True)]
  rows = []
  for i, entry in enumerate([None, *found.entries]):
    gain = found.gain(i)
    gain = f"{gain:+.2f}" if i and not np.isnan(gain) else "–"
    cells = [
      # Equal digits are equally good.
      tag("b", text) if text == top else text
      for text, top in zip(texts[i], best, strict=True)
    ]
    mark = tag("span", class_=f"swatch n{entry.colour}") if entry else ""
    name = entry.label if entry else "bicubic"
    rows.append(
      tag(
        "tr",
        tag("th", mark, name, scope="row"),
        *(tag("td", cell) for cell in (*cells, gain.replace("-", "−"))),
      )
    )
  equal = found.equal()
  equal = (
    "; not in the mean PSNR of what equals HR there, and of it in no gain:"
    f" {', '.join(equal)}"
    if equal
    else ""
  )
  heads = ("network", "PSNR-Y, dB", "SSIM-Y", "gain, dB")
  table = tag(
    "table",
    tag(
      "caption",
      f"Mean of {len(found.names)} images, protocol {MATLAB.name}{equal}",
    ),
    tag("tr", *(tag("th", head, scope="col") for head in heads)),
    *rows,
  )
  return join(tag("div", table, class_="scroll"), _difference(found))


def _difference(found: Comparison) -> Markup:
  """How sure the difference of two networks is; nothing where there are more.

  Of the images whose PSNR is finite.
  """
  values = np.array(
    [[s["psnr_y"] for s in rows] for rows in zip(*found.scores, strict=True)]
  )
  values = values[np.all(np.isfinite(values), axis=1)].T[1:]
  if len(values) != 2 or not values.size:
    return Markup("")
  a, b = values
  low, high = comparison.bootstrap_interval(b - a)
  first, second = (entry.label for entry in found.entries)
  text = (
    f"{second} − {first}: {np.mean(b - a):+.3f} dB PSNR-Y; 95 % confidence"
    f" interval of the mean {low:+.3f} to {high:+.3f} dB"
  )
  if low <= 0 <= high:
    text += ", which holds 0: no difference is shown"
  return tag("p", text.replace(" -", " −") + ".", class_="note")


def _training(entries: Sequence[Entry]) -> Markup | None:
  """Curves of the runs; None where there are none."""
  runs = [entry for entry in entries if entry.network.config is not None]
  charts = curves.charts(runs)
  if charts is None:
    return None
  return tag("section", tag("h2", "Training"), charts, id="training")


def _footer() -> Markup:
  return tag(
    "footer",
    tag(
      "p",
      f"Made by bamjax {bamjax.__version__}. Whole images are compressed"
      f" (WebP, at most {encode.OVERVIEW} pixels on the longer side), and so"
      " are maps. Crops and their error maps are lossless. Scores are of the"
      " images as computed: Y of YCbCr in 8 bits, a border of the scale left"
      " out.",
    ),
  )
