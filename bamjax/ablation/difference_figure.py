"""A figure of the differences from the control, a panel per backbone."""

from pathlib import Path
from typing import Any
from typing import IO

import numpy as np

from bamjax.ablation.analysis import Line
from bamjax.ablation.summary import Summary

_MARKERS = "osD^v"


def draw(summary: Summary, file: Path | IO[bytes]) -> bool:
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
