"""The output of a benchmark: lines of a table, a JSON file and a figure."""

import math
from pathlib import Path
from typing import Any
from typing import TYPE_CHECKING

from bamjax.errors import UserError
from bamjax.files import check_writable
from bamjax.files import replacing
from bamjax.files import to_json
from bamjax.files import write_atomically

if TYPE_CHECKING:
  from matplotlib.axes import Axes

HEADER = (
  f"{'model':<14} {'attention':<10} {'scale':>5} {'input':>8} {'FPS':>9}"
  f" {'spread':>6} {'ms p50':>9} {'ms p90':>9} {'peak':>5} {'MB':>7}"
  f" {'compile s':>9}"
)


# Ratios of our rate to that of the rival's best form: in the plan's dtype, and
# in float32 where ours is bfloat16. Their text is printed after "the best".
RATIOS = {"rival_ratio": "", "rival_ratio_float32": " in float32"}


def format_row(row: dict[str, Any]) -> str:
  """Formats a row, and the rival's results below it, for the `HEADER`."""
  memory = row["memory_bytes"]
  line = (
    f"{row['model']:<14} {row['attn']:<10} {'×' + str(row['scale']):>5}"
    f" {row['size']:>4}×{row['size']:<3} {row['fps']:>9.2f}"
    f" {row['fps_spread']:>6.0%} {row['ms_p50']:>9.2f} {row['ms_p90']:>9.2f}"
    f" {row['peak_share']:>5.0%} {'' if memory is None else memory / 1e6:>7.0f}"
    f" {row['compile_s']:>9.2f}"
  )
  rival = row.get("rival")
  if not rival:
    return line
  for name, form in rival["forms"].items():
    line += (
      f"\n  {rival['name'] + ', ' + name:<38} {form['fps']:>9.2f}"
      f" {form['fps_spread']:>6.0%} {form['ms_p50']:>9.2f}"
      f" {form['ms_p90']:>9.2f}"
    )
  ratios = [
    f"the best{text} {row[name]:.2f}"
    for name, text in RATIOS.items()
    if name in row
  ]
  return (
    f"{line}\n  ours / {', / '.join(ratios)} (results differ by"
    f" {rival['difference']:.1e})"
  )


def geomean(values: list[float]) -> float:
  """Returns the geometric mean."""
  return math.exp(sum(map(math.log, values)) / len(values))


def check_output(path: Path) -> None:
  """Raises UserError if the JSON file cannot be written.

  Its name must not end in .png, the name of the figure.
  """
  if path.is_dir():
    raise UserError(f"{path} is a folder; use a file, {path}/benchmark.json")
  if path.suffix.lower() == ".png":
    raise UserError(
      f"{path} would be the figure; use the name of the JSON file"
    )
  check_writable(path)


def write_json(result: dict[str, Any], path: Path) -> None:
  """Writes the results, replacing the file atomically.

  Raises:
    UserError: the file cannot be written.
  """
  write_atomically(path, to_json(result, indent=2) + "\n")


def draw(result: dict[str, Any], path: Path) -> None:
  """Draws the paper's figure 6: FPS over input size for each model and scale.

  Args:
    result: the content of the JSON file (`sweep.run`).
    path: the PNG file.
  """
  # Imported here: it takes half a second, and only the figure needs it.
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  rows = result["rows"]
  models = list(dict.fromkeys(row["model"] for row in rows))
  scales = list(dict.fromkeys(row["scale"] for row in rows))
  figure = Figure((4 * len(scales), 3 * len(models)), layout="constrained")
  FigureCanvasAgg(figure)
  panels = figure.subplots(len(models), len(scales), squeeze=False)
  for i, model in enumerate(models):
    for j, scale in enumerate(scales):
      _panel(
        panels[i][j],
        [r for r in rows if (r["model"], r["scale"]) == (model, scale)],
      )
      panels[i][j].set_title(f"{model} ×{scale}")
  unit = "steps/s" if result["flags"]["train"] else "FPS"
  for line in panels:
    line[0].set_ylabel(unit)
  for panel in panels[-1]:
    panel.set_xlabel("side of the input, LR pixels")
  environment = result["environment"]
  figure.suptitle(
    f"{environment['device']}, {result['flags']['dtype']},"
    f" batch {result['flags']['batch_size']}",
    fontsize="medium",
  )
  with replacing(path) as temporary:
    figure.savefig(temporary, dpi=120)


def _panel(panel: "Axes", rows: list[dict[str, Any]]) -> None:
  """Draws a line per attention; the rival's lines are dashed."""
  for k, attn in enumerate(dict.fromkeys(row["attn"] for row in rows)):
    own = [row for row in rows if row["attn"] == attn]
    sizes = [row["size"] for row in own]
    label = f"control ({own[0]['kind']})" if attn == "native" else attn
    panel.plot(sizes, [r["fps"] for r in own], "o-", color=f"C{k}", label=label)
    rival = [row for row in own if "rival" in row]
    if rival:
      panel.plot(
        [row["size"] for row in rival],
        [max(f["fps"] for f in r["rival"]["forms"].values()) for r in rival],
        "x--",
        color=f"C{k}",
        label=f"{label}, {rival[0]['rival']['name']}",
      )
  panel.set_ylim(bottom=0)
  panel.grid(alpha=0.3)
  panel.legend(fontsize="small")
