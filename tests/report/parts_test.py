"""Markup, encoding and curves: what the page is put together from."""

import base64
import io
import json

import numpy as np
from PIL import Image
import pytest

from bamjax.report import curves
from bamjax.report import encode
from bamjax.report.markup import Markup
from bamjax.report.markup import tag


def decode(uri):
  head, text = uri.split(",")
  assert head == "data:image/webp;base64"
  return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def noise(height, width):
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (height, width, 3), np.uint8)


def test_text_and_attributes_are_escaped():
  found = tag("a", "<b> & ", tag("i", "x"), title='"<', data_key=1, id=None)
  assert (
    found == '<a title="&quot;&lt;" data-key="1">&lt;b&gt; &amp; <i>x</i></a>'
  )
  assert tag("p", Markup("<br>")) == "<p><br></p>"
  assert tag("input", checked=True) == "<input checked>"
  assert tag("path", d="M0 0") == '<path d="M0 0"></path>'


def test_crops_keep_every_value():
  images = encode.Images()
  image = noise(40, 30)
  key = images.lossless(image)
  np.testing.assert_array_equal(decode(images.uris[key]), image)


def test_whole_images_are_bounded():
  images = encode.Images()
  key = images.whole(noise(30, 2 * encode.OVERVIEW))
  assert decode(images.uris[key]).shape == (15, encode.OVERVIEW, 3)
  assert images.map(noise(20, 20), 10) != key
  assert list(images.uris) == ["i0", "i1"]


@pytest.mark.parametrize("name", ["inferno", "viridis"])
def test_colours_grow_lighter_with_the_value(name):
  table = encode.colours(name).astype(int)
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


def test_logs_are_read_but_for_what_is_no_row(tmp_path):
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


@pytest.mark.parametrize(
  ("low", "high", "want"),
  [
    (0, 300, [0, 50, 100, 150, 200, 250, 300]),
    (30.9, 34.9, [31, 32, 33, 34]),
    (0.011, 0.092, [0.02, 0.04, 0.06, 0.08]),
    (7, 7, [7]),
  ],
)
def test_ticks_are_round_and_inside(low, high, want):
  np.testing.assert_allclose(curves.ticks(low, high), want)
