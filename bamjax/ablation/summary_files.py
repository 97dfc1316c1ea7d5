"""Writes a study's ablation.json, .csv, .md, .png and .html."""

import base64
import io
from pathlib import Path
from typing import Any
from typing import IO

import numpy as np

from bamjax.ablation import summary as summary_lib
from bamjax.ablation import summary_tables
from bamjax.ablation.analysis import Line
from bamjax.ablation.summary import Summary
from bamjax.files import replacing
from bamjax.files import to_json
from bamjax.files import write_atomically
from bamjax.report import document

NAME = "ablation"
_MARKERS = "osD^v"


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
    "html": _page(summary),
  }
  for suffix, text in files.items():
    write_atomically(folder / f"{NAME}.{suffix}", text)
  _draw(summary, folder / f"{NAME}.png")


def _draw(summary: Summary, path: Path) -> None:
  if not summary.comparisons:
    path.unlink(missing_ok=True)  # that of another state of the folder
    return
  with replacing(path) as temporary:
    _draw_figure(summary, temporary)


def _page(summary: Summary) -> str:
  """Renders what was compared, the figure, and a table per benchmark."""
  study = summary.study
  recipe = study.recipe
  return document.TEMPLATES.get_template("ablation.html").render(
    title=f"Ablation of attentions, ×{study.scale}",
    recipe=(
      f"{len(summary.finished)} trainings by one recipe: images from"
      f" {recipe.data.source}, patches {recipe.data.patch}×{recipe.data.patch},"
      f" batch {recipe.batch_size}, {recipe.steps:,} steps, learning rate"
      f" {recipe.optim.learning_rate:g} ({recipe.optim.schedule}),"
      f" {recipe.dtype}."
    ),
    figure=_figure(summary),
    tables=summary_tables.tables(summary),
  )


def _figure(summary: Summary) -> str:
  """The figure in base64; "" if there is no difference yet."""
  file = io.BytesIO()
  drawn = _draw_figure(summary, file)
  return base64.b64encode(file.getvalue()).decode() if drawn else ""


def _draw_figure(summary: Summary, file: Path | IO[bytes]) -> bool:
  """Draws differences of PSNR with their intervals and each seed's own.

  Args:
    summary: of a study.
    file: where to write it, as PNG.

  Returns:
    Whether there was a difference to draw; without, nothing is written.
  """
  # Imported here: it takes half a second, and only the figure needs it.
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  lines = [line for found in summary.lines.values() for line in found]
  lines = [line for line in lines if line.psnr.difference is not None]
  if not lines:
    return False
  models = list(dict.fromkeys(line.model for line in lines))
  benchmarks = list(dict.fromkeys(line.benchmark for line in lines))
  figure = Figure((1.5 + 2.8 * len(models), 3.6), layout="constrained")
  FigureCanvasAgg(figure)
  panels = figure.subplots(1, len(models), squeeze=False, sharey=True)[0]
  for panel, model in zip(panels, models, strict=True):
    own = [line for line in lines if line.model == model]
    _panel(panel, own, benchmarks)
    panel.set_title(model, fontsize="medium")
  study = summary.study
  panels[0].set_ylabel(f"PSNR − control ({study.control}), dB")
  panels[0].legend(fontsize="small")
  figure.suptitle(
    f"×{study.scale}, protocol {study.protocol}\n"
    "bars: 95 % intervals; dashes: seeds",
    fontsize="small",
  )
  figure.savefig(file, dpi=150, format="png")
  return True


def _panel(panel: Any, lines: list[Line], benchmarks: list[str]) -> None:
  """Attentions on the x axis, a colour and a marker per benchmark."""
  attns = list(dict.fromkeys(line.attn for line in lines))
  width = 0.6 / len(benchmarks)
  panel.axhline(0, color="0.4", linewidth=1)
  for k, benchmark in enumerate(benchmarks):
    own = [line for line in lines if line.benchmark == benchmark]
    shift = (k - (len(benchmarks) - 1) / 2) * width
    places = [attns.index(line.attn) + shift for line in own]
    colour, label = f"C{k}", benchmark
    for place, line in zip(places, own, strict=True):
      found = line.psnr.difference
      assert found is not None
      half = (found.high - found.low) / 2
      panel.errorbar(
        [place],
        [found.mean],
        yerr=half if np.isfinite(half) else None,
        color=colour,
        marker=_MARKERS[k % len(_MARKERS)],
        capsize=3,
        label=label,
      )
      label = "_"  # one entry of the legend for each benchmark
      seeds = [float(np.mean(row)) for row in line.psnr.table]
      panel.plot(
        [place + 0.25 * width] * len(seeds),
        seeds,
        "_",
        color=colour,
        alpha=0.7,
      )
  panel.set_xticks(range(len(attns)), attns)
  panel.set_xlim(-0.6, len(attns) - 0.4)
  panel.grid(axis="y", alpha=0.3)
