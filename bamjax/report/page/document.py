"""The page: one file of HTML that needs no network."""

from collections import Counter
from collections.abc import Sequence
import importlib.resources
import json
from pathlib import Path
import re

import bamjax
from bamjax import complexity
from bamjax.inference import Upscaler
from bamjax.networks import Network
from bamjax.report.page import curves
from bamjax.report.page import encode
from bamjax.report.page import pictures
from bamjax.report.page.compare import Comparison
from bamjax.report.page.markup import join
from bamjax.report.page.markup import Markup
from bamjax.report.page.markup import tag

Found = Sequence[tuple[Comparison, Sequence[Upscaler]]]


def page(networks: Sequence[Network], found: Found) -> str:
  """The whole page.

  Args:
    networks: all that are compared.
    found: comparisons, with the upscalers of their networks.
  """
  images, data = encode.Images(), []
  names = dict(zip(map(id, networks), labels(networks), strict=True))
  index = {id(network): i for i, network in enumerate(networks)}
  body = [
    _header(networks, names),
    *(_benchmark(images, data, names, index, *pair) for pair in found),
    _training(networks, names),
    _footer(),
  ]
  main = join(*body)
  payload = {"images": images.uris, "pictures": data}
  # In a script, only "</" and "<!--" would end or change the text.
  text = json.dumps(payload, separators=(",", ":")).replace("<", "\\u003c")
  return "<!doctype html>\n" + tag(
    "html",
    tag(
      "head",
      tag("meta", charset="utf-8"),
      tag(
        "meta", name="viewport", content="width=device-width, initial-scale=1"
      ),
      tag("meta", name="color-scheme", content="light dark"),
      tag("title", "Super-resolution, side by side"),
      tag("style", Markup(_asset("page.css"))),
    ),
    tag(
      "body",
      tag("noscript", tag("p", "The pictures of this page need JavaScript.")),
      main,
      tag("script", Markup(text), type="application/json", id="data"),
      tag("script", Markup(_asset("page.js"))),
    ),
    lang="en",
  )


def labels(networks: Sequence[Network]) -> list[str]:
  """A short name of each network, no two alike.

  "imdn cca ×2", with the name of its file or folder where that is shared, and a
  number where that is too.
  """
  titles = [network.title for network in networks]
  shared = Counter(titles)
  names = [
    title if shared[title] == 1 else f"{title} · {Path(network.source).name}"
    for title, network in zip(titles, networks, strict=True)
  ]
  total, seen = Counter(names), Counter()
  for i, name in enumerate(names):
    seen[name] += 1
    if total[name] > 1:
      names[i] = f"{name} #{seen[name]}"
  return names


def _asset(name: str) -> str:
  file = importlib.resources.files(__package__) / "assets" / name
  return file.read_text(encoding="utf-8")


def anchor(text: str) -> str:
  """An id for links, of letters, digits and hyphens."""
  return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _header(networks, names) -> Markup:
  rows = []
  for i, network in enumerate(networks):
    count = complexity.parameters(network.module, network.variables)
    step = "" if network.step is None else f", step {network.step:,}"
    rows.append(
      tag(
        "li",
        tag("span", class_=f"swatch n{i % 6}"),
        tag("b", names[id(network)]),
        f" {count / 1000:,.1f}K parameters",
        tag("span", f"{network.source}{step}", class_="source"),
      )
    )
  return tag(
    "header",
    tag("h1", "Super-resolution, side by side"),
    tag("ul", *rows, class_="networks"),
  )


def _benchmark(images, data, names, index, found, upscalers) -> Markup:
  """A benchmark's scores and pictures."""
  title = f"{found.benchmark} ×{found.scale}"
  shown, total = len(found.shown), len(found.names)
  said = (
    f"All {total} pictures are shown, "
    if shown == total
    else f"{shown} of {total} pictures are shown, "
  )
  order = (
    "those first on which the networks differ most."
    if len(found.networks) > 1
    else "those first on which the network differs most from bicubic."
  )
  own = [names[id(n)] for n in found.networks]
  colours = [index[id(n)] % 6 for n in found.networks]
  return tag(
    "section",
    tag("h2", title),
    _scores(found, own, colours),
    tag("p", said + order, class_="note"),
    *(
      pictures.section(images, data, found, picture, upscalers, own, colours)
      for picture in found.shown
    ),
    class_="benchmark",
    id=anchor(f"{found.benchmark} x{found.scale}"),
  )


def _scores(found: Comparison, own: list[str], colours: list[int]) -> Markup:
  """Mean scores, the best in bold."""
  means = found.means()
  if not means:
    return tag("p", "Not scored: there are no HR pictures.", class_="note")
  best = {key: max(m[key] for m in means) for key in means[0]}
  rows = []
  for i, (name, mean) in enumerate(zip(["bicubic", *own], means, strict=True)):
    texts = [f"{mean['psnr_y']:.2f}", f"{mean['ssim_y']:.4f}"]
    gain = f"{mean['psnr_y'] - means[0]['psnr_y']:+.2f}" if i else "–"
    cells = [
      tag("b", text) if mean[key] == best[key] else text
      for text, key in zip(texts, ("psnr_y", "ssim_y"), strict=True)
    ]
    mark = tag("span", class_=f"swatch n{colours[i - 1]}") if i else ""
    rows.append(
      tag(
        "tr",
        tag("th", mark, name, scope="row"),
        *(tag("td", cell) for cell in (*cells, gain)),
      )
    )
  heads = ("network", "PSNR-Y, dB", "SSIM-Y", "gain, dB")
  table = tag(
    "table",
    tag(
      "caption",
      f"Mean of {len(found.names)} pictures, protocol matlab",
    ),
    tag("tr", *(tag("th", head, scope="col") for head in heads)),
    *rows,
  )
  return tag("div", table, class_="scroll")


def _training(networks, names) -> Markup:
  runs = [
    (i % 6, names[id(network)], network.source)
    for i, network in enumerate(networks)
    if network.config is not None
  ]
  charts = curves.charts(runs)
  if charts is None:
    return Markup("")
  return tag("section", tag("h2", "Training"), charts, id="training")


def _footer() -> Markup:
  return tag(
    "footer",
    tag(
      "p",
      f"Made by bamjax {bamjax.__version__}. Whole pictures are compressed"
      f" (WebP, at most {encode.OVERVIEW} pixels on the longer side); crops and"
      " their errors are the exact 8-bit values. Scores are of the exact"
      " pictures: Y of YCbCr, a border of the scale left out.",
    ),
  )
