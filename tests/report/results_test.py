import csv
import io
import json

import jax
import numpy as np
import pytest

from bamjax import protocols
from bamjax.errors import UserError
from bamjax.models import create_model
from bamjax.networks import Network
from bamjax.report import full
from bamjax.report import results
from bamjax.report.tables import Table

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


def test_a_row_holds_what_was_measured_and_what_the_paper_prints():
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


def test_the_table_names_protocols_and_never_mixes_them():
  text = results.table(row()).text()
  assert "imdn cca ×2 on Set5, protocol matlab" in text
  assert "33.67/.9303  38.00/.9605  +4.33 dB" in text
  assert "paper: imdn 38.00/.9605 (quoted" in text
  assert (
    "paper: imdn with BAM 38.03/.9607 (measured there, protocol bam)" in text
  )
  assert "luma plane alone" in text
  assert "luma plane alone" not in results.table(row(protocol=BAM)).text()
  assert "paper" not in results.table(row(protocol=NTIRE)).text()
  unscored = results.table(row(values=(None,) * 4)).text()
  assert "no HR" in unscored and "–" in unscored


def test_files_hold_the_rows(tmp_path):
  results.write(tmp_path, [row(), row(protocol=BAM)])
  rows = json.loads((tmp_path / "results.json").read_text())
  assert [r["protocol"] for r in rows] == ["matlab", "bam"]
  lines = list(
    csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text()))
  )
  assert [line["image"] for line in lines[:3]] == ["baby", "bird", "mean"]
  assert float(lines[2]["psnr_y"]) == 38.0
  assert "| baby | 33.67/.9303 |" in (tmp_path / "results.md").read_text()


def test_rows_stay_until_they_are_measured_again(tmp_path):
  results.write(tmp_path, [row("a"), row("b")])
  results.write(tmp_path, [row("b", values=(39.0, 0.97, 33.67, 0.93))])
  found = {r["source"]: r["psnr_y"] for r in results.read(tmp_path)}
  assert found == {"a": 38.0, "b": 39.0}


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": 1}', '[{"a": 1}]', "3"])
def test_another_file_of_that_name_is_left_alone(tmp_path, text):
  (tmp_path / "results.json").write_text(text)
  with pytest.raises(UserError, match="cannot be read as results"):
    results.write(tmp_path, [row()])
  assert (tmp_path / "results.json").read_text() == text


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="cannot be written"):
    results.write(tmp_path / "file" / "below", [row()])


def test_the_papers_tables_show_ours_under_the_same_protocol(monkeypatch):
  from bamjax.report import paper

  few = [r for r in paper.rows() if r.model in ("imdn", "carn_m")]
  monkeypatch.setattr(paper, "rows", lambda: few)
  rows = full.compare(
    [
      row(),
      row(protocol=BAM, values=(38.05, 0.9608, 33.7, 0.93)),
      row(protocol=BAM, values=(38.2, 0.97, 33.7, 0.93), attn="bam"),
      row(model="carn_m", groups=4),
      {**row(values=(1.0, 0.1, 1.0, 0.1)), "self_ensemble": True},
    ]
  )
  assert len(rows) == 12 + 15
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
  tables = full.tables(rows)
  assert [t.title for t in tables][:2] == [
    "Table 1 of the paper, ×2",
    "Table 1 of the paper, ×3",
  ]
  lines = tables[0].text().splitlines()
  ours = lines[[line.startswith("imdn bam") for line in lines].index(True) + 1]
  assert "38.20/.9700" in ours and "694.3K" in ours
  # CARN-M's published weights have four groups, not the table's one.
  assert "carn_m none: the weights measured are of another" in lines[-1]
  assert "414.8K" in lines[-1]


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
