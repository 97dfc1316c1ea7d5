import csv
import io
import json
import math

import pytest

from ablation import studies
from bamjax.ablation import summary as summary_lib
from bamjax.ablation import summary_files
from bamjax.ablation import summary_tables
from bamjax.ablation.cells import make_cells
from bamjax.evaluation import result_files


def lines(summary):
  return {(line.model, line.attn): line for line in summary.lines["Set5"]}


def test_differences_are_paired(tmp_path):
  study = studies.make(tmp_path, seeds=[0, 1, 2])
  summary = summary_lib.summarize(study, studies.finish_all(study, 0.5))
  found = lines(summary)
  control, bam = found["pan", "native"], found["pan", "bam"]
  assert (control.kind, bam.kind) == ("pa", "bam")
  assert control.psnr.difference is None
  # The noise of an image is the control's too: paired, it vanishes.
  difference = bam.psnr.difference
  assert difference.mean == pytest.approx(0.5)
  assert difference.low == pytest.approx(0.5)
  assert difference.spread == pytest.approx(0, abs=1e-9)
  assert (difference.seeds, difference.images) == (3, 4)
  assert bam.cost.parameters > 0 and bam.cost.macs != control.cost.macs
  assert summary.missing == []


def test_the_table_is_of_what_is_there(tmp_path):
  study = studies.make(tmp_path, models=["pan", "imdn"])
  cells = make_cells(study)
  by_name = {cell.name: cell for cell in cells}
  for name in ("pan-native-seed0", "pan-bam-seed0", "pan-bam-seed1"):
    studies.finish(study, by_name[name], 0.1 * ("bam" in name))
  summary = summary_lib.summarize(study, cells)
  bam = lines(summary)["pan", "bam"]
  assert list(bam.psnr.per_seed) == [0, 1]
  assert bam.seeds == [0] and bam.psnr.difference.seeds == 1
  assert len(summary.missing) == 5
  (table,) = summary_tables.tables(summary)
  notes = "\n".join(table.notes)
  assert "not finished" in notes and "imdn-bam-seed1" in notes
  assert "another seed may change the sign" in notes
  assert (
    table.rows[1][table.header.index("PSNR is")] == "higher with this one seed"
  )


def test_cells_that_the_command_does_not_name_count(tmp_path):
  study = studies.make(tmp_path)
  studies.finish_all(study)
  fewer = studies.make(tmp_path, seeds=[0])
  summary = summary_lib.summarize(fewer, make_cells(fewer))
  assert lines(summary)["pan", "bam"].psnr.difference.seeds == 2


def test_no_difference_in_words(tmp_path):
  study = studies.make(tmp_path)
  control, bam, control_1, bam_1 = make_cells(study)
  for cell, shift in (
    (control, 0),
    (bam, 0.03),
    (control_1, 0),
    (bam_1, -0.02),
  ):
    studies.finish(study, cell, shift)
  summary = summary_lib.summarize(study, make_cells(study))
  (table,) = summary_tables.tables(summary)
  row = dict(zip(table.header, table.rows[1], strict=False))
  assert row["PSNR is"] == "no difference shown"
  assert row["difference dB"] == "+0.005 ± 0.035"
  assert row["seeds"] == "2"


def test_an_image_equal_to_hr_is_left_out(tmp_path):
  study = studies.make(tmp_path)
  cells = studies.finish_all(study)
  (row,) = result_files.read(cells[1].folder)
  row["images"][0]["psnr_y"] = math.inf
  result_files.write(cells[1].folder, [row])
  summary = summary_lib.summarize(study, cells)
  bam = lines(summary)["pan", "bam"]
  assert bam.psnr.left_out == ["image0"]
  assert bam.psnr.difference.images == 3
  assert bam.ssim.difference.images == 4
  (table,) = summary_tables.tables(summary)
  assert any("equal to HR" in note for note in table.notes)


def test_all_files_are_written(tmp_path):
  study = studies.make(tmp_path)
  cells = studies.finish_all(study)
  summary_files.write(summary_lib.summarize(study, cells))
  found = json.loads((study.folder / "ablation.json").read_text())
  assert found["control"] == "native" and found["recipe"]["steps"] == 4
  assert len(found["finished"]) == 4
  bam = found["lines"][1]
  assert bam["psnr"]["difference"]["mean"] == pytest.approx(0.5)
  assert [len(row) for row in bam["psnr"]["differences"]] == [4, 4]
  text = (study.folder / "ablation.csv").read_text()
  rows = list(csv.DictReader(io.StringIO(text)))
  assert float(rows[1]["psnr_difference"]) == pytest.approx(0.5)
  assert rows[0]["psnr_difference"] == "" and rows[0]["attn"] == "native"
  assert "| pan bam |" in (study.folder / "ablation.md").read_text()
  assert (study.folder / "ablation.png").read_bytes()[:4] == b"\x89PNG"
  page = (study.folder / "ablation.html").read_text()
  assert "data:image/png;base64," in page and "+0.500" in page
  assert "http" not in page


def test_without_differences_there_is_no_figure(tmp_path):
  study = studies.make(tmp_path)
  cells = studies.finish_all(study)
  summary_files.write(summary_lib.summarize(study, cells))
  for cell in cells[1::2]:
    (cell.folder / "summary.json").unlink()
  summary = summary_lib.summarize(study, cells)
  assert summary.comparisons == 0
  summary_files.write(summary)
  assert not (study.folder / "ablation.png").exists()
  assert "<img" not in (study.folder / "ablation.html").read_text()
