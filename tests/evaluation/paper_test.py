"""The data of the paper's tables, against our counts and the paper's text."""

import functools
import re

import pytest

from bamjax import complexity
from bamjax.evaluation import paper
from bamjax.models import create_model
from bamjax.models.registry import backbone
from shared import needs_shared
from shared import SHARED
from weights.goldens import Goldens

# The paper swaps the ×4 parameters of these two.
SWAPPED = {(4, "msrn", "native"): "bam", (4, "msrn", "bam"): "native"}


@functools.cache
def counted():
  """Parameters by (scale, model, attention) of the reference networks."""
  found = {
    (c["scale"], c["model"], c["attn"]): c["parameters"]
    for c in Goldens().cases.values()
    if "group" not in c
  }
  for scale, se in ((2, 693_996), (3, 702_651), (4, 714_768)):
    found[scale, "imdn", "se"] = se
    found[scale, "imdn", "ca"] = found[scale, "imdn", "cca"]
  return found


def test_all_rows_exist():
  rows = paper.printed_rows()
  assert [r.table for r in rows] == [1] * 60 + [2] * 15
  assert len({(r.table, r.scale, r.model, r.attn) for r in rows}) == 75
  # Cells as in the paper: all but s-LWSR32's control at ×2 and ×3 on each …
  for benchmark in ("Set5", "Set14", "BSD100"):
    table_1 = [r for r in rows if r.table == 1 and benchmark in r.scores]
    assert len(table_1) == 58
  # … and without the controls of EDSR, CARN and CARN-M on Manga109.
  assert sum("Manga109" in r.scores for r in rows if r.table == 1) == 48
  assert not any("Urban100" in r.scores for r in rows if r.table == 1)
  assert sum("realSR7" in r.scores for r in rows) == 5


@pytest.mark.parametrize("row", paper.printed_rows())
def test_parameters_are_those_of_the_networks(row):
  attn = SWAPPED.get((row.scale, row.model, row.attn), row.attn)
  kind = backbone(row.model).native if attn == "native" else attn
  want = counted()[row.scale, row.model, kind] / 1000
  # The paper truncates some and rounds others.
  assert row.kilo_parameters == pytest.approx(want, abs=0.1)


@pytest.mark.parametrize("row", [r for r in paper.printed_rows() if r.gflops])
def test_gflops_are_those_of_the_networks(row):
  module = create_model(row.model, row.attn, row.scale)
  counts = complexity.summary(module)
  assert f"{counts['paper_gflops']:.3f}" == f"{row.gflops:.3f}"


@pytest.mark.parametrize(
  ("model", "attn", "scale", "benchmark", "want"),
  [
    ("edsr", "bam", 3, "Set5", (35.26, 0.9417)),
    ("rcan", "native", 4, "Manga109", (31.22, 0.9173)),
    ("rcan", "bam", 4, "Manga109", (31.09, 0.9209)),
    ("slwsr32", "native", 2, "Set5", None),
    ("slwsr32", "bam", 2, "Set5", (37.91, 0.9603)),
    ("drln", "bam", 4, "BSD100", (28.75, 0.7714)),
    ("imdn", "bam", 2, "Urban100", (32.18, 0.9283)),
    ("imdn", "cbam", 4, "realSR7", (30.16, 0.8461)),
    ("imdn", "bam", 2, "realSR7", None),
    ("pan", "se", 2, "Set5", None),
    ("imdn", "bam", 2, "my images", None),
  ],
)
def test_scores_are_as_printed(model, attn, scale, benchmark, want):
  assert paper.find(model, attn, scale, benchmark) == want


@needs_shared
def test_every_score_is_printed_in_the_papers_columns():
  text = (SHARED / "paper.txt").read_text()
  printed = re.findall(r"\d\d\.\d\d/0\.\d{4}", text)
  compared = 0
  for table in (1, 2):
    rows = [row for row in paper.printed_rows() if row.table == table]
    for benchmark in {name for row in rows for name in row.scores}:
      column = [r.scores[benchmark] for r in rows if benchmark in r.scores]
      column = [f"{psnr:.2f}/{ssim:.4f}" for psnr, ssim in column]
      # The text has each column's cells one after the other.
      starts = [i for i, cell in enumerate(printed) if cell == column[0]]
      assert any(printed[i : i + len(column)] == column for i in starts)
      compared += len(column)
  assert compared == 3 * 58 + 48 + 5 * 15 + 5


def test_imdns_rows_of_both_tables_agree():
  rows = {(r.table, r.scale, r.attn): r for r in paper.printed_rows()}
  for scale in (2, 3, 4):
    for first, second in (("native", "cca"), ("bam", "bam")):
      one = next(
        r
        for r in paper.printed_rows()
        if (r.table, r.scale, r.model, r.attn) == (1, scale, "imdn", first)
      )
      two = rows[2, scale, second]
      assert one.scores.items() <= two.scores.items()
      assert one.kilo_parameters == two.kilo_parameters


def test_quoted_figures_are_of_the_literatures_protocol():
  for row in paper.printed_rows():
    quoted = row.attn in ("native", "cca")
    assert row.protocol == ("matlab" if quoted else "bam")
