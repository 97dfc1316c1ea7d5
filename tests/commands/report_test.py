"""`bamjax report`: one file that works offline."""

from html.parser import HTMLParser

import numpy as np
from PIL import Image
import pytest

from bamjax.commands import report
from bamjax.errors import UserError
from bamjax.models import create_model
from bamjax.networks import Network
import scripts


def run(output, **options):
  report.run(report.Options(output=str(output), **options))
  return output.read_text(encoding="utf-8")


class Addresses(HTMLParser):
  """Collects what a page refers to."""

  def __init__(self):
    super().__init__()
    self.found = []

  def handle_starttag(self, name, attributes):
    self.found += [v for k, v in attributes if k in ("src", "href", "srcset")]
    assert name not in ("link", "iframe", "base")


def test_a_run_is_shown_on_its_own_images(finished_run, tmp_path, capsys):
  text = run(tmp_path / "new" / "page.html", run_dir=[str(finished_run)])
  assert "folder validation ×2" in text and "pan bam ×2" in text
  assert "Training loss" in text and "up_0_attention" in text
  # The run is one network: its gain over bicubic, and no interval.
  assert "differs from bicubic" in text and "confidence" not in text
  assert "2 images, 2 shown" in capsys.readouterr().out
  parser = Addresses()
  parser.feed(text)
  assert parser.found and all(a.startswith("#") for a in parser.found)
  style = text[text.index("<style>") : text.index("</style>")]
  assert "url(" not in style and "@import" not in style


def test_degraded_lr_has_sections_of_its_own(finished_run, tmp_path, capsys):
  text = run(
    tmp_path / "page.html",
    run_dir=[str(finished_run)],
    degradation=["bicubic", "jpeg:40"],
  )
  assert "folder validation with jpeg:40 ×2" in text
  printed = capsys.readouterr().out
  assert "validation ×2: 2 images" in printed
  assert "validation with jpeg:40 ×2: 2 images" in printed


def test_no_more_images_than_asked_for(finished_run, tmp_path):
  text = run(tmp_path / "page.html", run_dir=[str(finished_run)], images=1)
  assert text.count("<article") == 1
  assert "1 of 2 images below" in " ".join(text.split())


def test_lr_alone_has_neither_scores_nor_errors(finished_run, tmp_path):
  folder = tmp_path / "real" / "LR"
  folder.mkdir(parents=True)
  image = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
  Image.fromarray(image).save(folder / "<one>.png")
  text = run(
    tmp_path / "page.html",
    run_dir=[str(finished_run)],
    benchmarks=[str(folder.parent)],
  )
  assert "Not scored" in text and 'type="checkbox"' not in text
  assert "&lt;one&gt;" in text and "<one>" not in text


def test_networks_have_distinct_labels():
  module = create_model("imdn")
  sources = ["a/x.npz", "b/x.npz", "runs/y"]
  networks = [Network(s, "imdn", "cca", 2, module, {}) for s in sources]
  other = Network("z", "pan", "bam", 2, create_model("pan", "bam"), {})
  assert report.labels([*networks, other]) == [
    "imdn cca ×2 · x.npz #1",
    "imdn cca ×2 · x.npz #2",
    "imdn cca ×2 · y",
    "pan bam ×2",
  ]


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({}, "no network: use --run_dir=DIR or --weights=FILE"),
    ({"run_dir": ["RUN"], "images": 0}, "--images must be at least 1"),
    ({"run_dir": ["RUN"], "benchmarks": ["absent"]}, "there is no folder"),
    ({"run_dir": ["RUN"], "tile": -1}, "--tile"),
    ({"run_dir": ["RUN"], "degradation": ["x:1"]}, "unknown degradation"),
    ({"run_dir": ["RUN"], "scale": [3]}, "a run of scale 2, not 3"),
    ({"weights": ["absent.npz"]}, "no such file"),
    ({"weights": ["a"] * 3, "scale": [2, 3, 4]}, "at most 6 .* got 9"),
  ],
)
def test_mistakes(finished_run, tmp_path, options, message):
  if "run_dir" in options:
    runs = [str(finished_run) for _ in options["run_dir"]]
    options = {**options, "run_dir": runs}
  with pytest.raises(UserError, match=message):
    run(tmp_path / "page.html", **options)
  assert not list(tmp_path.iterdir())


def test_the_page_overwrites_nothing_that_it_shows(finished_run, tmp_path):
  image = tmp_path / "images" / "one.png"
  image.parent.mkdir()
  Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(image)
  link = tmp_path / "page.html"
  link.hardlink_to(image)
  for output, read in (
    (finished_run / "config.json", None),
    (image.parent / ".." / "images" / "one.png", image.parent),
    (link, image.parent),
  ):
    before = output.read_bytes()
    with pytest.raises(UserError, match="which is read; use another --output"):
      run(
        output,
        run_dir=[str(finished_run)],
        benchmarks=[str(read)] if read else [],
      )
    assert output.read_bytes() == before
  (tmp_path / "page").write_text("of before")
  assert "html" in run(tmp_path / "page", run_dir=[str(finished_run)])


def test_the_output_cannot_be_a_folder(finished_run, tmp_path):
  with pytest.raises(UserError, match="is a folder; use a file"):
    run(tmp_path, run_dir=[str(finished_run)])


def test_a_mistake_is_one_line(tmp_path):
  done = scripts.call("report.py", "--run_dir=absent", cwd=tmp_path)
  assert done.code == 2
  (line,) = done.err.splitlines()
  assert line.startswith("report.py: error: absent: no such file")


def test_images_of_any_program_are_one_more_network(finished_run, tmp_path):
  test_set, made = tmp_path / "mine", tmp_path / "made_x2"
  rng = np.random.default_rng(0)
  for folder in (test_set, made):
    folder.mkdir()
  for name in ("one", "two"):
    image = rng.integers(0, 256, (41, 51, 3), np.uint8)
    Image.fromarray(image).save(test_set / f"{name}.png")
    Image.fromarray(image[:40, :50]).save(made / f"{name}_out.png")
  options = {"outputs": [str(made)], "benchmarks": [str(test_set)]}
  text = run(tmp_path / "page.html", run_dir=[str(finished_run)], **options)
  assert "pan bam ×2" in text and "made_x2 ×2" in text
  assert "made from HR cropped to a multiple of 2" in text
  alone = run(tmp_path / "alone.html", **options)
  assert "made_x2 ×2" in alone and "parameters" not in alone
