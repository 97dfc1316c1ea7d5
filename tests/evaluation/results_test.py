from concurrent import futures
import csv
import io
import json
import time

import jax
import numpy as np
import pytest

from bamjax.errors import UserError
from bamjax.evaluation import paper
from bamjax.evaluation import protocols
from bamjax.evaluation import result_files
from bamjax.evaluation import results
from bamjax.evaluation.tables import Table
from bamjax.models import create_model
from bamjax.networks import Network

MATLAB, BAM, NTIRE = protocols.find(["matlab", "bam", "ntire"])
KEYS = ("psnr_y", "ssim_y", "bicubic_psnr_y", "bicubic_ssim_y")


def network(source="imdn.safetensors", model="imdn", **options):
  module = create_model(model, **options)
  lr = jax.ShapeDtypeStruct((1, 8, 8, 3), np.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), lr)
  return Network(
    source, model, module.attention.kind, module.scale, module, variables
  )


def measured(*values, keys=KEYS):
  images = [
    {"name": name, **dict(zip(keys, values, strict=True))}
    for name in ("baby", "bird")
  ]
  return {**dict(zip(keys, values, strict=True)), "images": images}


def row(source="imdn.safetensors", protocol=MATLAB, values=None, **options):
  values = values or (38.0, 0.9605, 33.67, 0.9303)
  keys = [k.replace("_y", f"_{protocol.suffix}") for k in KEYS]
  return results.make_row(
    network(source, **options), "Set5", protocol, measured(*values, keys=keys)
  )


def test_a_row_contains_the_measured_and_the_printed_scores():
  found = row()
  assert (found["model"], found["attn"], found["scale"]) == ("imdn", "cca", 2)
  assert found["parameters"] == 694_404
  assert (found["benchmark"], found["protocol"]) == ("Set5", "matlab")
  assert found["protocol_version"] == 1
  assert found["psnr_y"] == 38.0 and found["bicubic_ssim_y"] == 0.9303
  assert found["paper"] == {"control": (38.0, 0.9605), "bam": (38.03, 0.9607)}
  assert [image["name"] for image in found["images"]] == ["baby", "bird"]
  rgb = row(protocol=NTIRE)
  assert rgb["psnr_y"] is None and rgb["psnr_rgb"] == 38.0


def test_the_title_shows_a_depth_other_than_the_published_one():
  found = row(model="edsr", blocks=15, features=64)
  title = results.table(found).title
  assert title == "edsr none ×2, 15 blocks on Set5, protocol matlab"
  before = {k: v for k, v in found.items() if k != "depth"}
  assert results.table(before).title.startswith("edsr none ×2 on")


def test_the_table_names_protocols_and_never_mixes_them():
  text = results.table(row()).text()
  assert "imdn cca ×2 on Set5, protocol matlab" in text
  assert "33.67/.9303  38.00/.9605  +4.33 dB" in text
  assert "paper: imdn 38.00/.9605 (quoted" in text
  assert "paper: imdn with BAM 38.03/.9607 (protocol bam)" in text
  assert "is of upscaled luma" in text
  assert "is of upscaled luma" not in results.table(row(protocol=BAM)).text()
  assert "paper" not in results.table(row(protocol=NTIRE)).text()
  unscored = results.table(row(values=(None,) * 4)).text()
  assert "no HR" in unscored and "–" in unscored


def test_files_contain_the_rows(tmp_path):
  result_files.write(tmp_path, [row(), row(protocol=BAM)])
  rows = json.loads((tmp_path / "results.json").read_text())
  assert [r["protocol"] for r in rows] == ["matlab", "bam"]
  lines = list(
    csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text()))
  )
  assert [line["image"] for line in lines[:3]] == ["baby", "bird", "mean"]
  assert float(lines[2]["psnr_y"]) == 38.0
  assert "| baby | 33.67/.9303 |" in (tmp_path / "results.md").read_text()


def test_an_image_named_mean_is_not_the_mean(tmp_path):
  found = row(values=(30.0, 0.9, 28.0, 0.8))
  found["images"][0] |= {"name": "mean", "psnr_y": 38.0}
  found["psnr_y"] = 34.0
  result_files.write(tmp_path, [found])
  text = (tmp_path / "results.csv").read_text()
  lines = list(csv.DictReader(io.StringIO(text)))
  assert [(line["image"], line["kind"], line["psnr_y"]) for line in lines] == [
    ("mean", "image", "38.0"),
    ("bird", "image", "30.0"),
    ("mean", "mean", "34.0"),
  ]
  assert text.splitlines()[0].endswith(",kind")
  (again,) = result_files.read(tmp_path)
  assert again["images"][0]["psnr_y"] == 38.0 and again["psnr_y"] == 34.0
  markdown = (tmp_path / "results.md").read_text()
  assert "| mean |" in markdown and "| **mean of 2** |" in markdown


def test_processes_that_write_to_one_folder_lose_no_row(tmp_path, monkeypatch):
  # Locks exclude open files of one process, too. The pause is between reading
  # and writing, where another one's rows would be lost.
  def read(folder, read=result_files.read):
    rows = read(folder)
    time.sleep(0.01)
    return rows

  monkeypatch.setattr(result_files, "read", read)
  first = row()

  def write(writer):
    for step in range(4):
      new = {**first, "source": f"network {writer}", "step": step}
      result_files.write(tmp_path / "results", [new])

  with futures.ThreadPoolExecutor(4) as pool:
    list(pool.map(write, range(4)))
  rows = result_files.read(tmp_path / "results")
  assert {(r["source"], r["step"]) for r in rows} == {
    (f"network {writer}", step) for writer in range(4) for step in range(4)
  }
  text = (tmp_path / "results" / "results.csv").read_text()
  assert text.count(",mean,mean\n") == 16


def test_infinite_psnr_is_null_in_json_and_comes_back(tmp_path):
  equal = row(values=(np.inf, 1.0, np.inf, 1.0))
  unscored = row("b", values=(None,) * 4)
  result_files.write(tmp_path, [equal, unscored])
  text = (tmp_path / "results.json").read_text()
  assert "Infinity" not in text and "NaN" not in text
  found = result_files.read(tmp_path)
  assert found[0]["images"][0]["psnr_y"] == found[0]["psnr_y"] == np.inf
  assert found[1]["images"][0]["psnr_y"] is None
  shown = results.table(found[0]).text()
  assert "nan" not in shown and "PSNR and gain): baby, bird" in shown
  assert "bicubic equals HR" in shown and "the model equals HR" in shown


def test_a_mean_is_over_what_the_method_itself_has():
  found = row(values=(30.0, 0.9, 28.0, 0.8))
  found["images"][1].update(psnr_y=26.0, bicubic_psnr_y=np.inf)
  found["psnr_y"] = 28.0
  text = results.table(found).text()
  assert text.split("mean of 2")[1].split()[:3] == [
    *("28.00/.8000", "28.00/.9000", "+2.00"),
  ]
  assert "bicubic equals HR" in text and "the model equals" not in text


def test_rows_of_other_settings_stay(tmp_path):
  """Every setting that affects a score identifies a row."""
  first = results.make_row(
    network(),
    "Set5",
    MATLAB,
    measured(38.0, 0.96, 33.0, 0.9),
    path="/w/imdn",
    tile=None,
    folder="/data/Set5",
  )
  others = {
    "path": "/x/imdn",
    "tile": 32,
    "folder": "/other/Set5",
    "normalization": "official",
    "step": 7,
    "self_ensemble": True,
    "protocol": "bam",
  }
  rows = [first, *({**first, name: value} for name, value in others.items())]
  result_files.write(tmp_path, rows)
  assert len(result_files.read(tmp_path)) == len(rows)
  result_files.write(tmp_path, [{**first, "source": "./imdn", "psnr_y": 1.0}])
  found = result_files.read(tmp_path)
  assert len(found) == len(rows) and found[-1]["psnr_y"] == 1.0


def test_no_two_networks_save_into_one_folder(tmp_path):
  a = results.describe(network(), "Set5", path="/a", folder="/Set5")
  b = {**a, "path": "/b"}
  assert result_files.saved_in([], a, "pan") == "pan"
  rows = [{**a, "saved": "pan", "protocol": "bam"}]
  assert result_files.saved_in(rows, a, "pan") == "pan"
  assert result_files.saved_in(rows, b, "Pan") == "Pan-2"
  rows.append({**b, "saved": "pan-2"})
  assert result_files.saved_in(rows, b, "pan") == "pan-2"
  assert result_files.saved_in(rows, {**a, "tile": 9}, "pan") == "pan-3"


def test_no_two_processes_save_into_one_folder(tmp_path):
  a = results.describe(network(), "Set5", path="/a", folder="/Set5")
  b = {**a, "path": "/b"}
  with result_files.reserved(tmp_path, a, "images/pan") as first:
    with result_files.reserved(tmp_path, b, "images/pan") as second:
      assert (first, second) == ("images/pan", "images/pan-2")
  # A process that was killed leaves none behind.
  with result_files.reserved(tmp_path, b, "images/pan") as again:
    assert again == "images/pan"


def test_rows_stay_until_they_are_measured_again(tmp_path):
  result_files.write(tmp_path, [row("a"), row("b")])
  result_files.write(tmp_path, [row("b", values=(39.0, 0.97, 33.67, 0.93))])
  found = {r["source"]: r["psnr_y"] for r in result_files.read(tmp_path)}
  assert found == {"a": 38.0, "b": 39.0}


@pytest.mark.parametrize(
  "text", ["{", "[1]", '{"a": 1}', '[{"a": 1}]', "3", "[" * 10**5]
)
def test_an_invalid_results_file_is_not_overwritten(tmp_path, text):
  (tmp_path / "results.json").write_text(text)
  with pytest.raises(UserError, match="does not contain results"):
    result_files.write(tmp_path, [row()])
  assert (tmp_path / "results.json").read_text() == text


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="cannot be written"):
    result_files.write(tmp_path / "file" / "below", [row()])


def test_the_papers_tables_show_ours_under_the_same_protocol(monkeypatch):
  few = [
    r
    for r in paper.printed_rows()
    if r.model in ("imdn", "carn_m") and r.scale < 4
  ]
  monkeypatch.setattr(paper, "printed_rows", lambda: few)
  rows = paper.match_results(
    [
      row("earlier", values=(1.0, 0.1, 1.0, 0.1)),
      row(),
      row(protocol=BAM, values=(38.05, 0.9608, 33.7, 0.93)),
      row(protocol=BAM, values=(38.2, 0.97, 33.7, 0.93), attn="bam"),
      {**row(model="carn_m", groups=4), "left_out": ["baby"]},
      {**row(values=(1.0, 0.1, 1.0, 0.1)), "self_ensemble": True},
      {**row(values=(1.0, 0.1, 1.0, 0.1)), "degradation": "noise:15"},
    ]
  )
  assert len(rows) == 8 + 10
  by_name = {(r["table"], r["scale"], r["model"], r["attn"]): r for r in rows}
  control = by_name[1, 2, "imdn", "cca"]
  assert control["scores"]["Set5"] == {
    "paper": (38.0, 0.9605),
    "matlab": (38.0, 0.9605),
    "bam": (38.05, 0.9608),
  }
  assert control["parameters"] == 694_404
  assert control["paper_parameters"] == pytest.approx(694_400)
  assert by_name[2, 2, "imdn", "cca"]["paper_gflops"] == 70.0
  tables = paper.tables(rows)
  assert [t.title for t in tables][:2] == [
    "Table 1 of the paper, ×2",
    "Table 1 of the paper, ×3",
  ]
  lines = tables[0].text().splitlines()
  ours = lines[[line.startswith("imdn bam") for line in lines].index(True) + 1]
  assert "38.20/.9700" in ours and "694.3K" in ours
  # Both protocols of the control stand below the paper's figures.
  start = [line.startswith("imdn cca") for line in lines].index(True)
  printed, first, second, other = lines[start : start + 4]
  assert "paper" in printed and "matlab" in printed
  assert first.split()[3:5] == ["matlab", "38.00/.9605"]
  assert second.split()[:2] == ["bam", "38.05/.9608"]
  assert other.startswith("imdn bam")
  # CARN-M's published weights have four groups, not the table's one.
  left_out, form, last = lines[-3:]
  assert left_out == "carn_m none: Set5, protocol matlab, is without baby"
  assert "carn_m none: the measured weights differ in size" in form
  assert "414.8K" in form
  assert last == (
    "imdn cca: Set5, protocol matlab, is the last of 2 results, of"
    " imdn.safetensors"
  )


def test_names_break_no_table():
  table = Table("A\nB", ["a", "b"], [["x|y\nz", "1"]])
  assert table.markdown().splitlines()[:5] == [
    "### A B",
    "",
    "| a | b |",
    "| --- | ---: |",
    r"| x\|y z | 1 |",
  ]
  assert table.text().splitlines()[-1] == "x|y z  1"


def test_tables_align_and_become_markdown():
  table = Table("T", ["a", "b"], [["x", "1"], ["long", "22"]], ["note"], True)
  assert table.text().splitlines() == [
    "T",
    "a      b",
    "--------",
    "x      1",
    "--------",
    "long  22",
    "note",
  ]
  assert table.markdown().splitlines() == [
    "### T",
    "",
    "| a | b |",
    "| --- | ---: |",
    "| x | 1 |",
    "| **long** | **22** |",
    "",
    "note",
  ]


def test_rows_of_older_versions_get_current_names(tmp_path):
  first = {**row(), "folder": "/Set5"}
  result_files.write(tmp_path, [first])
  (expected,) = result_files.read(tmp_path)
  path = tmp_path / "results.json"
  path.write_text(path.read_text().replace('"folder"', '"pictures"'))
  assert (
    result_files.read(tmp_path) == [expected] and expected["folder"] == "/Set5"
  )
