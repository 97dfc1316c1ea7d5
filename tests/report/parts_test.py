"""The parts of the page: templates, encoded images and curves."""

import base64
import io
import json
import re
from xml.etree import ElementTree

import numpy as np
from PIL import Image
import pytest

from bamjax.report import curves
from bamjax.report import document
from bamjax.report import encode
from bamjax.report import side_by_side


def decode(uri):
  head, text = uri.split(",")
  assert head == "data:image/webp;base64"
  return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def noise(height, width):
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (height, width, 3), np.uint8)


def test_text_and_attributes_are_escaped():
  template = document.TEMPLATES.from_string(
    """<a title="{{ x }}" data-x='{{ [x] | tojson }}'>{{ x }}</a>"""
  )
  assert template.render(x="<b> & \"'") == (
    '<a title="&lt;b&gt; &amp; &#34;&#39;"'
    """ data-x='["\\u003cb\\u003e \\u0026 \\"\\u0027"]'>"""
    "&lt;b&gt; &amp; &#34;&#39;</a>"
  )


def test_crops_keep_every_value():
  images = encode.EncodedImages()
  image = noise(40, 30)
  key = images.lossless(image)
  np.testing.assert_array_equal(decode(images.uris[key]), image)


def test_whole_images_are_bounded():
  images = encode.EncodedImages()
  key = images.whole(noise(30, 2 * encode.OVERVIEW))
  assert decode(images.uris[key]).shape == (15, encode.OVERVIEW, 3)
  assert images.map(noise(20, 20), 10) != key
  assert list(images.uris) == ["i0", "i1"]


@pytest.mark.parametrize("name", ["inferno", "viridis"])
def test_colours_grow_lighter_with_the_value(name):
  table = encode.colourise(np.arange(256)[None], 0, 255, name)[0].astype(int)
  lightness = table @ [2126, 7152, 722]
  assert np.all(np.diff(lightness[::8]) > 0)
  plane = np.array([[-1.0, 0.0], [2.0, 9.0]])
  found = encode.colourise(plane, 0, 2, name)
  np.testing.assert_array_equal(found[..., 0], table[[[0, 0], [255, 255]], 0])
  flat = encode.colourise(np.ones((2, 2)), 1, 1, name)
  assert flat.shape == (2, 2, 3)


def write(folder, *lines):
  folder.mkdir(exist_ok=True)
  (folder / "metrics.jsonl").write_text("\n".join(lines))
  return folder


def test_invalid_lines_of_logs_are_skipped(tmp_path):
  rows = [{"step": 1, "loss": 0.5}, {"step": 2, "psnr_y": 30, "x": None}]
  lines = [json.dumps(row) for row in rows]
  found = curves.read(
    write(
      tmp_path / "run", *lines, "[1]", "{}", '{"step": "x", "a": 1}', '{"step'
    )
  )
  assert {name: [list(c) for c in both] for name, both in found.items()} == {
    "loss": [[1], [0.5]],
    "psnr_y": [[2], [30]],
  }
  assert curves.read(tmp_path) == {}
  odd = b"\xff\n" + b"[" * 10**5
  (tmp_path / "metrics.jsonl").write_bytes(odd + b'\n{"step": 1, "a": 2}\n')
  assert list(curves.read(tmp_path)) == ["a"]


def series(label, colour, values):
  run = side_by_side.Entry(None, None, label, colour)
  values = np.array(values, float)
  return curves.Series(run, np.arange(len(values)) * 100.0, values)


def test_a_chart_is_a_deterministic_part_of_the_page():
  runs = [series("<a>", 0, [3, np.inf, 2]), series("b", 5, [1, 1.5])]
  chart = curves.draw("loss", runs)
  assert chart == curves.draw("loss", runs)
  root = ElementTree.fromstring(chart)
  titles = [
    each.text for each in root.iter("{http://www.w3.org/2000/svg}title")
  ]
  assert titles == [
    "Training loss by step. Last values: <a>: 2 at step 200; b: 1.5 at step"
    " 100",
    "<a>",
    "b",
  ]
  # The page's colours; those of matplotlib do not follow light and dark.
  assert "var(--n0)" in chart and "var(--n5)" in chart
  assert "#0000f" not in chart and "date" not in chart
  texts = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
  assert {"0", "100", "200", "1.2", "2", "step"} <= set(texts)


@pytest.mark.parametrize("values", [[7], [7, 7], [np.nan], [1e-9, 2e-9]])
def test_short_and_constant_curves_can_be_drawn(values):
  chart = curves.draw("loss", [series("a", 0, values)])
  drawing = chart.partition("</title>")[2]
  assert "<path" in drawing and "nan" not in drawing.lower()


def test_two_charts_share_no_identifier():
  loss, psnr = (
    curves.draw(name, [series("a", 0, [1, 2])]) for name in ("loss", "psnr_y")
  )
  used = re.findall(r'(?:href="#|url\(#)([^")]+)', loss)
  assert used and not [name for name in used if f'id="{name}"' in psnr]
