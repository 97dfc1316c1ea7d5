"""Training curves of runs, as SVG."""

from collections.abc import Sequence
import json
import operator
from pathlib import Path

import numpy as np

from bamjax.errors import UserError
from bamjax.report.differences import Entry
from bamjax.report.markup import join
from bamjax.report.markup import Markup
from bamjax.report.markup import tag

# What is drawn, of metrics.jsonl.
_CHARTS = {
  "loss": "Training loss",
  "psnr_y": "Validation PSNR-Y, dB",
}
_WIDTH, _HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 24, 14, 42

# Number of the colour, label, and steps and values.
Series = tuple[int, str, np.ndarray, np.ndarray]


def read(run_dir: str | Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Steps and values by name, of a run's metrics.jsonl.

  None where there is no such file. A line that is no row, as a killed process
  may leave one, is passed over.

  Raises:
    UserError: the file cannot be read.
  """
  path = Path(run_dir) / "metrics.jsonl"
  try:
    text = path.read_text(errors="replace") if path.exists() else ""
  except OSError as error:
    raise UserError(f"{path} cannot be read: {error}") from None
  found = {}
  for line in text.splitlines():
    try:
      row = json.loads(line)
      step = operator.index(row.pop("step"))
      # What was not finite is null.
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
      found.setdefault(name, []).append((step, value))
  return {
    name: tuple(np.array(column, float) for column in zip(*rows, strict=True))
    for name, rows in found.items()
  }


def charts(runs: Sequence[Entry]) -> Markup | None:
  """A chart of each measure of runs; None where nothing was logged."""
  logged = [(run.colour, run.label, read(run.network.source)) for run in runs]
  found = []
  for name, title in _CHARTS.items():
    series = [
      (colour, label, *rows[name])
      for colour, label, rows in logged
      if name in rows
    ]
    if series:
      found.append(_chart(title, series))
  return tag("div", *found, class_="charts") if found else None


def ticks(low: float, high: float, count: int = 5) -> np.ndarray:
  """About `count` round numbers in [low, high]."""
  raw = max(high - low, 1e-12) / count
  power = 10 ** np.floor(np.log10(raw))
  step = power * min((1, 2, 5, 10), key=lambda f: abs(f * power - raw))
  first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
  return step * np.arange(first, last + 1) + 0.0  # no −0


def _chart(title: str, series: Sequence[Series]) -> Markup:
  steps = np.concatenate([s[2] for s in series])
  values = np.concatenate([s[3] for s in series])
  values = values[np.isfinite(values)]
  low, high = (values.min(), values.max()) if values.size else (0, 1)
  margin = 0.06 * (high - low) or 0.5
  low, high = low - margin, high + margin
  right = max(steps.max(), 1)

  def x(step):
    return _LEFT + step / right * (_WIDTH - _LEFT - _RIGHT)

  def y(value):
    return _TOP + (high - value) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

  grid = []
  for value in ticks(low, high):
    grid.append(
      tag("path", d=f"M{_LEFT} {y(value):.1f}H{_WIDTH - _RIGHT}", class_="grid")
    )
    grid.append(
      tag("text", f"{value:.6g}", x=_LEFT - 8, y=f"{y(value) + 4:.1f}",
          text_anchor="end")
    )  # fmt: skip
  for step in ticks(0, right, 4):
    grid.append(
      tag("text", f"{step:,.0f}", x=f"{x(step):.1f}", y=_HEIGHT - 20,
          text_anchor="middle")
    )  # fmt: skip
  grid.append(
    tag("text", "step", x=(_LEFT + _WIDTH) // 2, y=_HEIGHT - 3,
        text_anchor="middle")
  )  # fmt: skip
  lines = [_line(s, x, y) for s in series]
  best = "; ".join(
    f"{label}: {v[-1]:.4g} at step {s[-1]:,.0f}" for _, label, s, v in series
  )
  svg = tag(
    "svg",
    tag("title", f"{title} by step. Last values: {best}"),
    *grid,
    *lines,
    viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
    role="img",
    class_="chart",
  )
  key = [
    tag("li", tag("span", class_=f"swatch n{index}"), label)
    for index, label, *_ in series
  ]
  return tag(
    "figure",
    tag("figcaption", tag("b", title)),
    svg,
    tag("ul", *key, class_="key"),
    _table(series),
  )


def _line(series: Series, x, y) -> Markup:
  index, label, steps, values = series
  points = [
    (s, v) for s, v in zip(steps, values, strict=True) if np.isfinite(v)
  ]
  path = "L".join(f"{x(s):.1f} {y(v):.1f}" for s, v in points)
  dots = [
    tag(
      "circle",
      cx=f"{x(s):.1f}",
      cy=f"{y(v):.1f}",
      r=3,
    )
    for s, v in points[:: max(1, len(points) // 40)]
  ]
  line = tag("path", d=f"M{path}", class_="line") if points else ""
  return tag("g", tag("title", label), line, *dots, class_=f"series n{index}")


def _table(series: Sequence[Series]) -> Markup:
  """The same as numbers; of a long run every so many rows."""
  columns = [
    dict(zip(steps, values, strict=True)) for _, _, steps, values in series
  ]
  steps = sorted(set().union(*columns))
  every = -(-len(steps) // 60)
  steps = sorted({*steps[::every], steps[-1]})
  head = [tag("th", t, scope="col") for t in ("step", *(s[1] for s in series))]
  rows = [
    tag(
      "tr",
      tag("th", f"{step:,.0f}", scope="row"),
      *(
        tag("td", f"{column[step]:.5g}" if step in column else "–")
        for column in columns
      ),
    )
    for step in steps
  ]
  table = tag("table", tag("tr", *head), *rows)
  return tag(
    "details",
    tag("summary", "Values"),
    tag("div", join(table), class_="scroll"),
  )
