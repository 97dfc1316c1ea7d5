"""The page in a real browser: its controls, layout and accessibility."""

import json

import jax
import numpy as np
import pytest

from bamjax.data.test_sets import Benchmark
from bamjax.inference import Upscaler
from bamjax.networks import Network
from bamjax.report import differences
from bamjax.report import document
from bamjax.report import side_by_side
import browser
from models import small

pytestmark = browser.needs_chromium


class File:
  """An image in memory."""

  name = "</script>one"

  def load(self):
    rng = np.random.default_rng(0)
    return None, rng.integers(0, 256, (120, 160, 3), np.uint8)


def entry(name, attn, colour):
  module = small.create(name, attn)
  lr = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32)
  variables = small.draw(module, lr)
  network = Network(f"{name}.npz", name, attn, 2, module, variables)
  upscaler = Upscaler(module, variables, tile=0)
  # A file may have such a name.
  label = f"{network.title} · </script>.npz"
  return side_by_side.Entry(network, upscaler, label, colour)


@pytest.fixture(scope="module")
def found():
  entries = [entry("imdn", "bam", 0), entry("pan", "pa", 1)]
  return side_by_side.run_networks(entries, Benchmark("B", [File()]), 1)


@pytest.fixture(scope="module")
def path(found, tmp_path_factory):
  path = tmp_path_factory.mktemp("page") / "page.html"
  path.write_text(document.page(found.entries, [found]), encoding="utf-8")
  return path


@pytest.fixture(scope="module")
def chromium():
  with browser.page() as page:
    yield page


@pytest.fixture
def page(chromium, path):
  chromium.complaints.clear()
  chromium.open(path)
  yield chromium
  assert chromium.complaints == []


SPLIT = "document.querySelector('.split')"
# Where the left image ends, in percent of the stage.
CLIP = """(() => {
  const left = document.querySelector('.side.left');
  const clip = getComputedStyle(left).clipPath;
  return 100 - Number(clip.match(/^inset\\(0px ([\\d.]+)%/)[1]);
})()"""
TRANSFORMS = """[...document.querySelectorAll('.lens img')].map(
  i => getComputedStyle(i).transform)"""


def centre(page, selector):
  return page(
    f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
    " e.scrollIntoView({block: 'center'});"
    " const r = e.getBoundingClientRect();"
    " return [r.x + r.width / 2, r.y + r.height / 2, r.width] })()"
  )


def test_the_divider_follows_mouse_and_keyboard(page):
  assert page(CLIP) == pytest.approx(50, abs=0.5)
  x, y, width = centre(page, ".split")
  page.drag((x, y), (x + 0.2 * width, y))
  assert page(CLIP) == pytest.approx(70, abs=1.5)
  before = page(CLIP)
  page(f"{SPLIT}.focus()")
  for _ in range(4):
    page.press("ArrowLeft")
  assert page(CLIP) == pytest.approx(before - 2, abs=0.1)


def test_crops_zoom_and_move_together(page):
  assert set(page(TRANSFORMS)) == {"matrix(1, 0, 0, 1, 0, 0)"}
  page("document.querySelector('.panels').focus()")
  for _ in range(4):
    page.press("+")
  (zoomed,) = set(page(TRANSFORMS))
  factor = float(zoomed.split("(")[1].split(",")[0])
  assert factor == pytest.approx(1.25**4, abs=0.2)
  page.press("ArrowRight")
  (moved,) = set(page(TRANSFORMS))
  x, y, width = centre(page, ".lens")
  page.drag((x, y), (x + width / 2, y + 5))
  (dragged,) = set(page(TRANSFORMS))
  assert len({zoomed, moved, dragged}) == 3
  page("document.querySelector('.reset').click()")
  assert set(page(TRANSFORMS)) == {"matrix(1, 0, 0, 1, 0, 0)"}


def pixels(page, selector):
  """The pixels of an image on the page, H×W×3."""
  width, height, values = page(
    "(() => {"
    f" const i = document.querySelector({json.dumps(selector)});"
    " const c = new OffscreenCanvas(i.naturalWidth, i.naturalHeight);"
    " const g = c.getContext('2d'); g.drawImage(i, 0, 0);"
    " const d = g.getImageData(0, 0, c.width, c.height).data;"
    " return [c.width, c.height, Array.from(d)] })()"
  )
  return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


def test_crops_are_exact(page, found):
  (image,) = found.shown
  boxes = differences.crops(image.outputs)
  for view in (1, 2):
    page(f"document.querySelector('.views [data-view=\"{view}\"]').click()")
    page.wait_for_images()
    top, left, height, width = boxes[view - 1]
    for i, array in enumerate([image.hr, *image.outputs]):
      shown = pixels(page, f"[data-method='{i}'] img")
      want = array[top : top + height, left : left + width]
      np.testing.assert_array_equal(shown, want)
    # The stage shows the same crop, of both networks.
    for side, array in zip(("left", "right"), image.outputs[1:], strict=True):
      shown = pixels(page, f".side.{side} img")
      want = array[top : top + height, left : left + width]
      np.testing.assert_array_equal(shown, want)


def test_errors_and_other_methods_can_be_chosen(page):
  before = page("document.querySelector('[data-method=\"2\"] img').src")
  page("document.querySelector('.errors').click()")
  assert page("document.querySelector('[data-method=\"2\"] img').src") != before
  assert page("document.querySelector('[data-method=\"2\"] img').alt").endswith(
    "error"
  )
  page(
    "(() => { const s = document.querySelector('[data-side=left]');"
    " s.value = '0'; s.dispatchEvent(new Event('change')) })()"
  )
  assert page("document.querySelector('.tag.left').textContent") == "HR"


def test_attention_is_drawn_over_the_image(page):
  page("document.querySelectorAll('details').forEach(d => d.open = true)")
  page("document.querySelector('.maps').scrollIntoView()")
  page.wait("[...document.querySelectorAll('.overlay img')].every(i => i.src)")
  assert page("document.querySelectorAll('.maps figure').length") == 3
  assert page("document.querySelectorAll('.bars').length") == 2
  page(
    "(() => { const m = document.querySelector('.mix'); m.value = 20;"
    " m.dispatchEvent(new Event('input')) })()"
  )
  assert (
    page("getComputedStyle(document.querySelector('.over')).opacity") == "0.2"
  )


@pytest.mark.parametrize("width", [360, 768, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_phones_and_laptops_light_and_dark(page, path, width, dark):
  page.open(path, width, 800, dark)
  page("document.querySelectorAll('details').forEach(d => d.open = true)")
  assert page("document.documentElement.scrollWidth") <= width
  back, front = page(
    "['backgroundColor', 'color'].map(k => getComputedStyle(document.body)[k]"
    ".match(/\\d+/g).map(Number).reduce((a, b) => a + b))"
  )
  assert (back < front) == dark


def test_every_control_has_a_name(page):
  roles = {"button", "slider", "combobox", "checkbox", "image", "link"}
  named = [(role, name) for role, name in page.accessible() if role in roles]
  assert {"button", "slider", "combobox", "checkbox", "image"} <= {
    role for role, _ in named
  }
  assert [role for role, name in named if not name] == []
