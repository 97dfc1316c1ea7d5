"""One image of the page: divider, crops, errors, attention."""

import numpy as np

from bamjax.evaluation import tables
from bamjax.report import differences
from bamjax.report import encode
from bamjax.report import maps
from bamjax.report.markup import Markup
from bamjax.report.markup import tag


def section(
  uris: encode.Uris,
  data: list[dict],
  found: differences.Comparison,
  shown: differences.ComparedImage,
) -> Markup:
  """An image's part of the page.

  Args:
    uris: gets the images.
    data: gets what the page's script needs of this shown: `methods`, each
      with `label`, `score`, and the keys of its `views` and of their `errors`:
      the whole shown, then the crops.
    found: the comparison that the image is of.
    shown: what is shown.
  """
  boxes = differences.crops(shown.outputs)
  names = ["bicubic", *(entry.label for entry in found.entries)]
  methods = _methods(uris, shown, boxes, names)
  data.append({"methods": methods})
  first = len(methods) - len(found.entries)
  colours = [None] * first + [entry.colour for entry in found.entries]
  height, width = shown.outputs[0].shape[:2]
  parts = [
    tag("h3", shown.name, tag("small", f" {width}×{height}")),
    _controls(methods, boxes, first),
    _stage(boxes, height, width),
    _panels(methods, colours),
  ]
  for entry, method in zip(found.entries, methods[first:], strict=True):
    whole = method["views"][0]
    figures = maps.figures(uris, entry, shown.lr, whole)
    if figures is not None:
      mark = tag("span", class_=f"swatch n{entry.colour}")
      summary = tag("summary", "Attention in ", mark, entry.label)
      parts.append(tag("details", summary, figures, class_="attention"))
  return tag("article", *parts, class_="image", data_index=len(data) - 1)


def _methods(uris, shown, boxes, names) -> list[dict]:
  """What can be looked at, HR first where there is one."""
  scores = shown.scores or [None] * len(names)
  rows = list(zip(names, shown.outputs, scores, strict=True))
  if shown.hr is not None:
    rows.insert(0, ("HR", shown.hr, None))
  reference = None if shown.hr is None else differences.luma(shown.hr)
  errors, peak = {}, None
  if reference is not None:
    errors = {
      name: np.abs(differences.luma(image) - reference)
      for name, image, _ in rows[1:]
    }
    # Bicubic's errors are larger: what is brightest is set by the networks'.
    high = [np.quantile(errors[name], 0.998) for name in names[1:]]
    peak = max(1, int(np.ceil(max(high))))
  methods = []
  for name, image, scored in rows:
    method = {"label": name, "score": "the original" if name == "HR" else ""}
    if scored is not None:
      text = tables.pair(scored["psnr_y"], scored["ssim_y"])
      method["score"] = text.replace("/", " dB / ")
    method["views"] = _views(uris, image, boxes)
    if name in errors:
      method["peak"] = peak
      mapped = encode.colourise(errors[name], 0, peak, "inferno")
      method["errors"] = _views(uris, mapped, boxes)
      method["cropErrors"] = [
        f"{np.sqrt(np.mean(_cut(errors[name], box) ** 2)):.2f}" for box in boxes
      ]
    methods.append(method)
  return methods


def _cut(image, box):
  top, left, height, width = box
  return image[top : top + height, left : left + width]


def _views(uris, image, boxes) -> list[str]:
  """Keys of the whole image and of its crops."""
  whole = uris.whole(image)
  return [whole, *(uris.lossless(_cut(image, box)) for box in boxes)]


def _controls(methods, boxes, first) -> Markup:
  """Buttons for the view, and what lies left and right of the divider."""
  texts = ["Whole", *(f"Crop {i}" for i in range(1, len(boxes) + 1))]
  views = [
    tag("button", text, type="button", data_view=i, aria_pressed="false")
    for i, text in enumerate(texts)
  ]
  choices = [(str(i), m["label"]) for i, m in enumerate(methods)]
  choices += [
    (f"{i}e", f"{m['label']}: error")
    for i, m in enumerate(methods)
    if "errors" in m
  ]
  # Two networks against each other, or the one against bicubic.
  last = len(methods) - 1
  sides = {"left": first if last > first else first - 1, "right": last}
  selects = [
    tag(
      "label",
      f"{side.capitalize()} ",
      tag(
        "select",
        *(
          tag("option", text, value=value, selected=value == str(chosen))
          for value, text in choices
        ),
        data_side=side,
      ),
    )
    for side, chosen in sides.items()
  ]
  return tag(
    "div",
    tag("div", *views, class_="views", role="group", aria_label="View"),
    *selects,
    class_="controls",
  )


def _stage(boxes, height, width) -> Markup:
  """Two images with a divider, and where the crops lie."""
  marks = [
    tag(
      "div",
      tag(
        "button",
        str(i),
        type="button",
        data_view=i,
        aria_label=f"Crop {i}",
      ),
      style=(
        f"top:{100 * top / height:.3f}%;left:{100 * left / width:.3f}%;"
        f"height:{100 * h / height:.3f}%;width:{100 * w / width:.3f}%"
      ),
    )
    for i, (top, left, h, w) in enumerate(boxes, 1)
  ]
  return tag(
    "div",
    tag("div", tag("img", alt=""), class_="side right"),
    tag("div", tag("img", alt=""), class_="side left"),
    tag("div", class_="divider", aria_hidden="true"),
    tag("div", *marks, class_="marks"),
    tag("span", class_="tag left", aria_hidden="true"),
    tag("span", class_="tag right", aria_hidden="true"),
    tag(
      "input",
      type="range",
      min=0,
      max=100,
      step=0.5,
      value=50,
      class_="split",
      aria_label="Divider between the left and the right image",
    ),
    class_="stage",
    data_width=width,
    data_height=height,
  )


def _panels(methods, colours) -> Markup:
  """The crop by every method, zoomed together."""
  scored = any("errors" in m for m in methods)
  zoom = tag(
    "label",
    "Zoom ",
    tag("input", type="range", min=1, max=8, step=0.1, value=1, class_="zoom"),
  )
  tools = [zoom, tag("button", "Reset", type="button", class_="reset")]
  if scored:
    box = tag("input", type="checkbox", class_="errors")
    tools.append(tag("label", box, " Errors"))
    peak = next(m["peak"] for m in methods if "peak" in m)
    bar = tag("span", class_="ramp", aria_hidden="true")
    tools.append(
      tag("span", "0 ", bar, f" {peak}+ levels of luma", class_="legend")
    )
  panels = [
    tag(
      "figure",
      tag("div", tag("img", alt=""), class_="lens"),
      tag(
        "figcaption",
        tag("span", class_=f"swatch n{colour}") if colour is not None else "",
        tag("b", method["label"]),
        tag("span", method["score"]),
        tag("span", class_="here"),
      ),
      class_="panel",
      data_method=i,
    )
    for i, (method, colour) in enumerate(zip(methods, colours, strict=True))
  ]
  hint = (
    "Drag to move; with the keyboard: arrows move, + and − zoom, 0 resets. All"
    " move together. RMSE is the crop's, in levels of luma."
  )
  group = tag(
    "div",
    *panels,
    class_="panels",
    tabindex=0,
    role="group",
    aria_label=f"Crops by every method. {hint}",
  )
  return tag(
    "div",
    tag("div", *tools, class_="controls"),
    group,
    tag("p", hint, class_="note"),
    class_="compare",
  )
