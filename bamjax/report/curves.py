"""Training curves of runs, drawn by matplotlib as SVG."""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import io
import json
import operator
from pathlib import Path

from markupsafe import escape
from markupsafe import Markup
import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.ticker import StrMethodFormatter
import numpy as np

from bamjax.errors import UserError
from bamjax.report.side_by_side import Entry

# Drawn columns of metrics.jsonl.
_TITLES = {"loss": "Training loss", "psnr_y": "Validation PSNR-Y, dB"}
_ROWS = 60  # maximum number of a table's rows, besides the last step's
_MARKERS = 40  # of a curve
# Line styles by colour: curves must not differ in colour alone.
_DASHES = ((8, 0), (8, 3), (2, 3), (10, 3, 2, 3), (5, 5), (14, 4))
# Placeholders for colours of the page, which differ in light and dark.
_COLOURS = {
  **{f"#0000f{i}": f"var(--n{i})" for i in range(len(_DASHES))},
  "#0000fa": "var(--soft)",
  "#0000fb": "var(--line)",
}
_SOFT, _LINE = "#0000fa", "#0000fb"

Points = tuple[np.ndarray, np.ndarray]  # steps and values


@dataclasses.dataclass(frozen=True)
class Series:
  """One measure of one run.

  Attributes:
    run: the run.
    steps: (N,) float64, ascending.
    values: (N,) float64.
  """

  run: Entry
  steps: np.ndarray
  values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Chart:
  """One measure of all runs.

  Attributes:
    title: heading.
    series: the curves.
    svg: the drawing.
    table: rows of step and each run's value, as text; those of a long run are
      thinned out.
  """

  title: str
  series: Sequence[Series]
  svg: Markup
  table: list[list[str]]


def read(run_dir: str | Path) -> dict[str, Points]:
  """Reads steps and values of each column of a run's metrics.jsonl.

  Lines that are not valid rows, for example the incomplete last line of a
  killed process, are skipped. A missing file is read as empty.

  Raises:
    UserError: the file cannot be read.
  """
  path = Path(run_dir) / "metrics.jsonl"
  try:
    text = path.read_text(errors="replace") if path.exists() else ""
  except OSError as error:
    raise UserError(f"{path} cannot be read: {error}") from None
  columns: dict[str, list[tuple[int, float]]] = {}
  for line in text.splitlines():
    try:
      row = json.loads(line)
      step = operator.index(row.pop("step"))
      # Null stands for a value that is not finite.
      values = {k: float(v) for k, v in row.items() if v is not None}
    except (
      ValueError,
      TypeError,
      AttributeError,
      LookupError,
      RecursionError,
    ):
      continue
    for name, value in values.items():
      columns.setdefault(name, []).append((step, value))
  found = {name: np.array(rows, float) for name, rows in columns.items()}
  return {name: (array[:, 0], array[:, 1]) for name, array in found.items()}


def charts(runs: Sequence[Entry]) -> Iterator[Chart]:
  """Yields a chart of each measure that any of the runs has logged."""
  logged = [(run, read(run.network.source)) for run in runs]
  for name, title in _TITLES.items():
    series = [
      Series(run, *columns[name]) for run, columns in logged if name in columns
    ]
    if series:
      yield Chart(title, series, draw(name, series), _table(series))


def draw(name: str, series: Sequence[Series]) -> Markup:
  """Draws curves as SVG.

  Args:
    name: of the measure; makes the identifiers inside the SVG unique.
    series: the curves.

  Returns:
    An <svg> element with the last values as its title and each run's label as
    that of its curve; equal for equal data.
  """
  with matplotlib.rc_context(
    {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 10}
  ):
    figure = Figure((5.6, 3), layout="constrained")
    axes = figure.subplots()
    for each in series:
      finite = np.isfinite(each.values)
      colour = each.run.colour
      axes.plot(
        each.steps[finite],
        each.values[finite],
        color=f"#0000f{colour}",
        linestyle=(0, _DASHES[colour]),
        marker="o",
        markersize=4,
        markevery=max(1, finite.sum() // _MARKERS),
        clip_on=False,
        gid=f"{name}-{colour}",
      )
    axes.set_xlim(0, max(1, *(each.steps.max() for each in series)))
    axes.set_xlabel("step", color=_SOFT)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:.6g}"))
    axes.tick_params(length=0, labelcolor=_SOFT)
    axes.grid(axis="y", color=_LINE)
    axes.spines[:].set_visible(False)
    file = io.StringIO()
    keys = ("Creator", "Date", "Format", "Type")
    metadata = dict.fromkeys(keys)
    figure.savefig(file, format="svg", transparent=True, metadata=metadata)
  return _fit_page(file.getvalue(), name, series)


def _fit_page(svg: str, name: str, series: Sequence[Series]) -> Markup:
  """Adapts matplotlib's SVG file to be an element of the page."""
  svg = svg[svg.index("<svg") :]
  for placeholder, colour in _COLOURS.items():
    svg = svg.replace(placeholder, colour)
  last = "; ".join(
    f"{each.run.label}: {each.values[-1]:.4g} at step {each.steps[-1]:,.0f}"
    for each in series
  )
  start, rest = svg.split(">", 1)
  title = f"{_TITLES[name]} by step. Last values: {last}"
  svg = f'{start} class="chart" role="img"><title>{escape(title)}</title>{rest}'
  for each in series:
    group = f'<g id="{name}-{each.run.colour}">'
    svg = svg.replace(group, f"{group}<title>{escape(each.run.label)}</title>")
  return Markup(svg)


def _table(series: Sequence[Series]) -> list[list[str]]:
  columns = [dict(zip(each.steps, each.values, strict=True)) for each in series]
  steps = sorted(set().union(*columns))
  every = -(-len(steps) // _ROWS)
  return [
    [
      f"{step:,.0f}",
      *(f"{c[step]:.5g}" if step in c else "–" for c in columns),
    ]
    for step in sorted({*steps[::every], steps[-1]})
  ]
