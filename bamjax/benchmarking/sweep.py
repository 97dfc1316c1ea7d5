"""Times all networks of a plan."""

from collections.abc import Callable
import dataclasses
from pathlib import Path
from typing import Any
from typing import Protocol

import numpy as np

from bamjax import progress
from bamjax.benchmarking import compiled
from bamjax.benchmarking import machine
from bamjax.benchmarking import output as output_lib
from bamjax.benchmarking import timing
from bamjax.benchmarking.plan import Plan
from bamjax.errors import UserError
from bamjax.models import registry

# Multiply-accumulates of a training step, relative to its forward pass: forward
# pass, gradient with respect to the inputs, gradient with respect to the
# weights.
_PASSES_OF_STEP = 3

# Largest difference of a rival's result from ours, relative to the largest
# value. In bf16, two orders of summation differ by about 1 %.
_TOLERANCE = {"float32": 1e-3, "tensorfloat32": 1e-2, "bfloat16": 5e-2}


class Rival(Protocol):
  """Another package that implements the same networks."""

  name: str

  def environment(self) -> dict[str, Any]:
    """Returns its versions and settings."""

  def forms(
    self,
    plan: Plan,
    model: str,
    attn: str,
    scale: int,
    size: int,
    variables: Any,
  ) -> dict[str, timing.Run]:
    """Returns functions that run a network with our weights, by name.

    They run frame i as `compiled.Program.run` does, and return the image,
    N×sH×sW×3, or the loss of a training step, as anything that NumPy converts.
    The dict is empty if the package does not have the network.
    """


def _difference(a: Any, b: Any) -> float:
  """Returns max |a − b| / max |b|."""
  a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
  return float(np.abs(a - b).max() / np.abs(b).max())


def time_backbone(
  plan: Plan,
  model: str,
  scale: int,
  size: int,
  peak: float,
  rival: Rival | None = None,
) -> list[dict[str, Any]]:
  """Times one backbone with each attention, in interleaved rounds.

  Args:
    plan: what to time.
    model: name of the backbone.
    scale: upscaling factor.
    size: side of the square frames, in LR pixels.
    peak: FLOP/s that count as 100 %.
    rival: package to time in the same rounds.

  Returns:
    A row for each attention (see the JSON file of `run`).

  Raises:
    UserError: the rival's results differ from ours.
  """
  runs: dict[tuple[str, str], timing.Run] = {}
  programs: dict[str, compiled.Program] = {}
  differences: dict[str, float] = {}
  about = f"{model} ×{scale}, {size}×{size}: "
  attns = list(dict.fromkeys(plan.attns))
  for attn in progress.each(attns, "network", attns, f"{about}compiled "):
    program = compiled.build(plan, model, attn, scale, size)
    programs[attn] = program
    runs[attn, ""] = program.run
    if not rival:
      continue
    kind = _kind(model, attn)
    first = program.run(0)
    for name, form in rival.forms(
      plan, model, kind, scale, size, program.variables
    ).items():
      difference = _difference(form(0), first)
      if not difference < _TOLERANCE[machine.precision(plan.dtype)]:
        raise UserError(
          f"{rival.name}'s {model} {attn} ×{scale} ({name}) is not the same"
          f" network as ours: its result differs by {difference:.1e}"
        )
      differences[attn] = max(difference, differences.get(attn, 0.0))
      runs[attn, name] = form
  seconds = timing.take_turns(runs, plan.frames, plan.rounds, about)
  # A training step counts as one, whatever its batch size.
  images = 1 if plan.train else plan.batch_size
  times = {key: timing.summarize(each, images) for key, each in seconds.items()}
  rows = []
  for attn, program in programs.items():
    forms = {name: times[a, name] for a, name in times if a == attn and name}
    row = _row(plan, model, attn, scale, size, program, times[attn, ""], peak)
    if rival and forms:
      row["rival"] = {
        "name": rival.name,
        "difference": differences[attn],
        "forms": forms,
      }
      for name in output_lib.RATIOS:
        rates = [
          times["fps_median"]
          for form, times in forms.items()
          if form.endswith(" float32") == name.endswith("float32")
        ]
        if rates:
          row[name] = row["fps_median"] / max(rates)
    rows.append(row)
  return rows


def _kind(model: str, attn: str) -> str:
  """The attention that "native" stands for."""
  return registry.backbone(model).native if attn == "native" else attn


def _row(
  plan: Plan,
  model: str,
  attn: str,
  scale: int,
  size: int,
  program: compiled.Program,
  times: dict[str, Any],
  peak: float,
) -> dict[str, Any]:
  passes = _PASSES_OF_STEP * plan.batch_size if plan.train else 1
  return {
    "model": model,
    "attn": attn,
    "kind": _kind(model, attn),
    "scale": scale,
    "size": size,
    "batch_size": plan.batch_size,
    "dtype": plan.dtype,
    **times,
    "macs": program.macs,
    "macs_per_s": passes * program.macs * times["fps_median"],
    "peak_share": 2 * passes * program.macs * times["fps_median"] / peak,
    "memory_bytes": program.memory,
    "compile_s": program.compile_s,
  }


def run(
  plan: Plan,
  output: Path | None = None,
  show: Callable[[str], None] = print,
  rival: Rival | None = None,
) -> dict[str, Any]:
  """Times all networks of a plan; prints and writes the results.

  Args:
    plan: what to time.
    output: JSON file to write; the figure gets the same name with .png. None:
      no files.
    show: receives each line of the table as soon as it is measured.
    rival: package to time in the same rounds.

  Returns:
    The content of the JSON file: `environment`, `flags` (the plan),
    `peak_flops`, `rows`, and with a rival the geometric means of
    `output.RATIOS`, such as `rival_ratio_geomean`. A row has the network, what
    `timing.summarize` returns, `macs`, `macs_per_s`, `peak_share`,
    `memory_bytes` and `compile_s`; with a rival also `rival` and
    `output.RATIOS`, our median FPS over the rival's best.

  Raises:
    UserError: the plan is invalid, or the rival's results differ from ours.
  """
  plan.check()
  if output:
    output_lib.check_output(output)
  peak = machine.measure_peak(plan.dtype)
  rows: list[dict[str, Any]] = []
  result: dict[str, Any] = {
    "environment": machine.environment(),
    "flags": dataclasses.asdict(plan),
    "peak_flops": peak,
    "rows": rows,
  }
  if rival:
    result["environment"]["rival"] = rival.environment()
  precision = machine.precision(plan.dtype)
  show(f"peak: {peak / 1e9:.0f} GFLOP/s in {precision}")
  show(output_lib.HEADER)
  for model, scale, size in plan.groups():
    for row in time_backbone(plan, model, scale, size, peak, rival):
      show(output_lib.format_row(row))
      rows.append(row)
    for name in output_lib.RATIOS:
      ratios = [row[name] for row in rows if name in row]
      if ratios:
        result[f"{name}_geomean"] = output_lib.geomean(ratios)
    if output:
      # After each backbone: an interrupted run keeps what it has measured.
      output_lib.write_json(result, output)
  for name in output_lib.RATIOS:
    if f"{name}_geomean" in result:
      show(
        f"ours / the rival's best{output_lib.RATIOS[name]}, geometric mean of"
        f" {sum(name in row for row in rows)}: {result[f'{name}_geomean']:.3f}"
      )
  if output:
    output_lib.draw(result, output.with_suffix(".png"))
  return result
