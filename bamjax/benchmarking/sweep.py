"""Times all of a plan."""

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

# Multiply-accumulates of a training step in those of its forward pass: the
# forward pass, the gradient of the input and that of the weights.
_STEP = 3

# A rival's result may differ from ours by so much, relative to the largest
# value. Two orders of summation in bf16 part by about 1 %.
_AGREE = {"float32": 1e-3, "tensorfloat32": 1e-2, "bfloat16": 5e-2}


class Rival(Protocol):
  """Another package that runs the same networks."""

  name: str

  def environment(self) -> dict[str, Any]:
    """Its versions and settings."""

  def forms(
    self,
    plan: Plan,
    model: str,
    attn: str,
    scale: int,
    size: int,
    variables: Any,
  ) -> dict[str, timing.Run]:
    """Ways to run a network with our weights, by name; none if it has none.

    Each runs the frame of a number as `programs.Program.run` does, and returns
    its image, N×sH×sW×3, or a training step's loss, as what NumPy takes.
    """


def _difference(a: Any, b: Any) -> float:
  """Largest difference of two results, relative to the largest value."""
  a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
  return float(np.abs(a - b).max() / np.abs(b).max())


def compare(
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
    size: side of the frames.
    peak: FLOP/s that count as 100 %.
    rival: what is timed beside.

  Returns:
    A row for each attention.

  Raises:
    UserError: the rival computes something else.
  """
  runs: dict[tuple[str, str], timing.Run] = {}
  built, differences = {}, {}
  about = f"{model} ×{scale}, {size}×{size}: "
  attns = list(dict.fromkeys(plan.attns))
  for attn in progress.each(attns, "network", attns, f"{about}compiled "):
    program = compiled.build(plan, model, attn, scale, size)
    built[attn] = program
    runs[attn, ""] = program.run
    forms = {}
    if rival:
      kind = _kind(model, attn)
      forms = rival.forms(plan, model, kind, scale, size, program.variables)
    first = program.run(0)
    for name, form in forms.items():
      difference = _difference(form(0), first)
      if not difference < _AGREE[machine.precision(plan.dtype)]:
        raise UserError(
          f"{rival.name}'s {model} {attn} ×{scale} ({name}) is not ours: its"
          f" result differs by {difference:.1e}"
        )
      differences[attn] = max(difference, differences.get(attn, 0.0))
      runs[attn, name] = form
  seconds = timing.take_turns(runs, plan.frames, plan.rounds, about)
  # A step counts as one, whatever its batch.
  images = 1 if plan.train else plan.batch_size
  told = {k: timing.summarize(v, images) for k, v in seconds.items()}
  rows = []
  for attn, program in built.items():
    forms = {name: told[a, name] for a, name in told if a == attn and name}
    row = _row(plan, model, attn, scale, size, program, told[attn, ""], peak)
    if forms:
      best = max(form["fps_median"] for form in forms.values())
      row["rival"] = {
        "name": rival.name,
        "difference": differences[attn],
        "forms": forms,
      }
      row["rival_ratio"] = row["fps_median"] / best
    rows.append(row)
  return rows


def _kind(model: str, attn: str) -> str:
  return registry.backbone(model).native if attn == "native" else attn


def _row(plan, model, attn, scale, size, program, told, peak):
  passes = _STEP * plan.batch_size if plan.train else 1
  return {
    "model": model,
    "attn": attn,
    "kind": _kind(model, attn),
    "scale": scale,
    "size": size,
    "batch_size": plan.batch_size,
    "dtype": plan.dtype,
    **told,
    "macs": program.macs,
    "macs_per_s": passes * program.macs * told["fps_median"],
    "peak_share": 2 * passes * program.macs * told["fps_median"] / peak,
    "memory_bytes": program.memory,
    "compile_s": program.compile_s,
  }


def run(
  plan: Plan,
  output: Path | None = None,
  show: Callable[[str], None] = print,
  rival: Rival | None = None,
) -> dict[str, Any]:
  """Times all of a plan, shows a table as it grows, writes it and draws it.

  Args:
    plan: what to time.
    output: the JSON file; the figure is written beside it, as PNG. None writes
      neither.
    show: takes each line of the table.
    rival: what is timed beside.

  Returns:
    What the JSON file holds: `environment`, `flags` (the plan), `peak_flops`,
    `rows`, and with a rival `rival_ratio_geomean`.

  Raises:
    UserError: the plan asks for something that does not exist, or the rival
      computes something else.
  """
  plan.check()
  if output:
    output_lib.check_output(output)
  peak = machine.measure_peak(plan.dtype)
  result = {
    "environment": machine.environment(),
    "flags": dataclasses.asdict(plan),
    "peak_flops": peak,
    "rows": [],
  }
  if rival:
    result["environment"]["rival"] = rival.environment()
  precision = machine.precision(plan.dtype)
  show(f"matrix products: {peak / 1e9:.0f} GFLOP/s in {precision}")
  show(output_lib.HEADER)
  for model, scale, size in plan.groups():
    rows = compare(plan, model, scale, size, peak, rival)
    for row in rows:
      show(output_lib.format_row(row))
    result["rows"] += rows
    ratios = [r["rival_ratio"] for r in result["rows"] if "rival_ratio" in r]
    if ratios:
      result["rival_ratio_geomean"] = output_lib.geomean(ratios)
    if output:
      # After each, so that a run that is cut off leaves what it measured.
      output_lib.write_json(result, output)
  if "rival_ratio_geomean" in result:
    show(
      f"ours / the rival's best, geometric mean of {len(ratios)}:"
      f" {result['rival_ratio_geomean']:.3f}"
    )
  if output:
    output_lib.draw(result, output.with_suffix(".png"))
  return result
