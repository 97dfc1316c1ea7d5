"""One image on the page: outputs, error maps, crops and attention."""

from collections.abc import Sequence
import dataclasses
from typing import NotRequired
from typing import TypedDict

import numpy as np

from bamjax.evaluation import tables
from bamjax.report import differences
from bamjax.report import encode
from bamjax.report import maps
from bamjax.report.differences import Box
from bamjax.report.side_by_side import ComparedImage
from bamjax.report.side_by_side import Comparison


class Method(TypedDict):
  """What the page's script shows of HR, bicubic upscaling or a network.

  Attributes:
    label: name of the method.
    score: text below the name.
    views: keys of the whole image and of its crops.
    errors: keys of the error maps of the same views.
    cropErrors: RMSE of each crop, in levels of luma.
  """

  label: str
  score: str
  views: list[str]
  errors: NotRequired[list[str]]
  cropErrors: NotRequired[list[str]]


@dataclasses.dataclass(frozen=True)
class Figure:
  """What the page's template shows of an image.

  Attributes:
    name: name of the image.
    size: height and width of the outputs, in pixels.
    methods: HR if there is one, bicubic upscaling, and the networks.
    colours: colour of each method; None for HR and bicubic.
    marks: top, left, height and width of each crop, in percent.
    sides: indices of the methods left and right of the divider at first: the
      first and the last network, or bicubic and the network.
    peak: error shown as the brightest colour, in levels of luma; None without
      HR.
    attention: attention of the networks that have one.
  """

  name: str
  size: tuple[int, int]
  methods: list[Method]
  colours: list[int | None]
  marks: list[tuple[float, ...]]
  sides: tuple[int, int]
  peak: int | None
  attention: list[maps.AttentionFigures]


def figure(
  images: encode.EncodedImages, comparison: Comparison, image: ComparedImage
) -> Figure:
  """Collects what the page shows of an image.

  Args:
    images: receives the encoded images.
    comparison: what the image belongs to.
    image: the image.
  """
  boxes = differences.crops(image.outputs)
  names = ["bicubic", *(entry.label for entry in comparison.entries)]
  errors, peak = _errors(image)
  methods: list[Method] = []
  if image.hr is not None:
    views = _views(images, image.hr, boxes)
    methods.append({"label": "HR", "score": "the original", "views": views})
  for i, (name, output) in enumerate(zip(names, image.outputs, strict=True)):
    views = _views(images, output, boxes)
    method: Method = {"label": name, "score": "", "views": views}
    if image.scores is not None:
      scores = image.scores[i]
      text = tables.pair(scores["psnr_y"], scores["ssim_y"])
      method["score"] = text.replace("/", " dB / ")
      colours = encode.colourise(errors[i], 0, peak, "inferno")
      method["errors"] = _views(images, colours, boxes)
      method["cropErrors"] = [
        f"{np.sqrt(np.mean(_cut(errors[i], box) ** 2)):.2f}" for box in boxes
      ]
    methods.append(method)
  first, last = len(methods) - len(comparison.entries), len(methods) - 1
  found = [
    maps.attention_figures(images, entry, image.lr, method["views"][0])
    for entry, method in zip(comparison.entries, methods[first:], strict=True)
  ]
  height, width = image.outputs[0].shape[:2]
  return Figure(
    name=image.name,
    size=(height, width),
    methods=methods,
    colours=[None] * first + [entry.colour for entry in comparison.entries],
    marks=[
      (100 * y / height, 100 * x / width, 100 * h / height, 100 * w / width)
      for y, x, h, w in boxes
    ],
    sides=(first if last > first else first - 1, last),
    peak=peak if image.scores is not None else None,
    attention=[each for each in found if each is not None],
  )


def _errors(image: ComparedImage) -> tuple[list[np.ndarray], int]:
  """Absolute luma errors of the outputs, H×W, and the scale of their colours.

  Errors of bicubic upscaling are larger, so the networks' set the scale.
  """
  if image.hr is None:
    return [], 1
  hr = differences.luma(image.hr)
  errors = [np.abs(differences.luma(output) - hr) for output in image.outputs]
  peak = max(np.quantile(error, 0.998) for error in errors[1:])
  return errors, max(1, int(np.ceil(peak)))


def _cut(image: np.ndarray, box: Box) -> np.ndarray:
  top, left, height, width = box
  return image[top : top + height, left : left + width]


def _views(
  images: encode.EncodedImages, image: np.ndarray, boxes: Sequence[Box]
) -> list[str]:
  """Keys of the whole image and of its crops."""
  whole = images.whole(image)
  return [whole, *(images.lossless(_cut(image, box)) for box in boxes)]
