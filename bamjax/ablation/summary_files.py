"""Writes a study's ablation.json, .csv, .md, .png and .html."""

from pathlib import Path

from bamjax.ablation import difference_figure
from bamjax.ablation import study_page
from bamjax.ablation import summary as summary_lib
from bamjax.ablation import summary_tables
from bamjax.ablation.summary import Summary
from bamjax.files import replacing
from bamjax.files import to_json
from bamjax.files import write_atomically

NAME = "ablation"


def write(summary: Summary) -> None:
  """Writes all of a study's results into its folder.

  Raises:
    UserError: a file cannot be written.
  """
  folder = summary.study.folder
  tables = summary_tables.tables(summary)
  files = {
    "md": "\n".join(table.markdown() for table in tables),
    "csv": summary_tables.to_csv(summary),
    "json": to_json(summary_lib.to_dict(summary), indent=2) + "\n",
    "html": study_page.page(summary),
  }
  for suffix, text in files.items():
    write_atomically(folder / f"{NAME}.{suffix}", text)
  _draw(summary, folder / f"{NAME}.png")


def _draw(summary: Summary, path: Path) -> None:
  if not summary.comparisons:
    path.unlink(missing_ok=True)  # that of another state of the folder
    return
  with replacing(path) as temporary:
    difference_figure.draw(summary, temporary)
