"""Lists the operations of a network that take longest on the device.

  python -m benchmarks.kernels --model=imdn --attn=bam
  python -m benchmarks.kernels --model=drln --dtype=bfloat16 --size=120
  python -m benchmarks.kernels --model=imdn --train --output=kernels.json

Records frames, or training steps (batch 16, 64×64 LR), with JAX's profiler, and
prints for each of the longest operations the milliseconds per frame, the share
of all operations' time, how often it runs, and the layer that it comes from.
On several cores or streams, operations may overlap.
"""

import argparse
import collections
import json
from pathlib import Path
import re
import tempfile
from typing import Any
import warnings

import jax

from bamjax.benchmarking import compiled
from bamjax.benchmarking.plan import Plan
from bamjax.errors import UserError
from bamjax.evaluation.tables import Table
from bamjax.files import write_atomically
from benchmarks import running

# In XLA's text of a program: an instruction's name, and where it comes from.
_INSTRUCTION = re.compile(
  r'^\s*(?:ROOT )?%?([\w.-]+) = .*metadata=\{[^}]*op_name="([^"]*)"', re.M
)


def origins(program: str) -> dict[str, str]:
  """The layer of each instruction of a compiled program's text, by its name."""
  found = {}
  for name, path in _INSTRUCTION.findall(program):
    # Without jit(…), which all share; transpose(jvp(X)) is the gradient in X.
    parts = [part for part in path.split("/") if not part.startswith("jit(")]
    found[name] = "/".join(parts)
  return found


def _stats(event: Any) -> dict[str, Any]:
  """What the profiler knows of an event, by name."""
  with warnings.catch_warnings():
    # Python 3.12 finds a fault in how jaxlib makes the type, at its first use.
    warnings.simplefilter("ignore", DeprecationWarning)
    return dict(event.stats)


def measure(folder: Path, frames: int) -> dict[str, dict[str, float]]:
  """Sums the device's operations in a folder of JAX's profiler.

  Args:
    folder: what `jax.profiler.trace` wrote.
    frames: the number of frames or steps that were recorded.

  Returns:
    For each instruction of XLA, or kernel of a CUDA graph, `ms` and `times`,
    both per frame.

  Raises:
    UserError: the profiler recorded no operation.
  """
  files = sorted(folder.glob("**/*.xplane.pb"))
  planes = [
    plane
    for file in files
    for plane in jax.profiler.ProfileData.from_file(str(file)).planes
  ]
  devices = [plane for plane in planes if plane.name.startswith("/device:")]
  found: dict[str, dict[str, float]] = collections.defaultdict(
    lambda: {"ms": 0.0, "times": 0.0}
  )
  for plane in devices or planes:
    for line in plane.lines:
      # A GPU's kernels, a TPU's operations; other lines repeat them.
      if devices and not line.name.startswith(("Stream", "XLA Ops")):
        continue
      for event in line.events:
        operation = _stats(event).get("hlo_op")
        if devices and operation is None:  # a kernel of a CUDA graph
          operation = event.name
        # A second event marks the end of a CPU's operation.
        if operation is None or event.name.startswith("end: "):
          continue
        # Without the target that a CPU adds to a custom call's name.
        row = found[str(operation).partition("__")[0]]
        row["ms"] += event.duration_ns / 1e6
        row["times"] += 1
  if not found:
    raise UserError("JAX's profiler recorded no operation on this device")
  return {
    name: {key: value / frames for key, value in row.items()}
    for name, row in found.items()
  }


def main() -> None:
  """Measures, prints a table and, with --output, writes JSON."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--model", default="imdn")
  parser.add_argument("--attn", default="bam")
  parser.add_argument("--scale", type=int, default=2)
  parser.add_argument("--size", type=int, default=0, help="side of the input")
  parser.add_argument("--dtype", default="float32")
  parser.add_argument("--batch_size", type=int, default=0)
  parser.add_argument("--train", action="store_true")
  parser.add_argument("--frames", type=int, default=10)
  parser.add_argument("--show", type=int, default=10, help="operations shown")
  parser.add_argument("--output", help="JSON file of all operations")
  args = parser.parse_args()
  plan = Plan(
    (args.model,),
    (args.attn,),
    (args.scale,),
    (args.size or (64 if args.train else 120),),
    frames=args.frames,
    dtype=args.dtype,
    batch_size=args.batch_size or (16 if args.train else 1),
    train=args.train,
  )
  plan.check()
  size = plan.sizes[0]
  program = compiled.build(plan, args.model, args.attn, args.scale, size)
  for i in range(3):
    program.run(i)
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      for i in range(plan.frames):
        program.run(i)
    found = measure(Path(folder), plan.frames)
  layers = origins(program.text())
  total = sum(row["ms"] for row in found.values())
  ranked = sorted(found.items(), key=lambda item: -item[1]["ms"])
  rows = [
    [
      name,
      f"{row['ms']:.3f}",
      f"{100 * row['ms'] / total:.1f} %",
      f"{row['times']:g}",
      layers.get(name, ""),
    ]
    for name, row in ranked[: args.show]
  ]
  what = "step" if plan.train else "frame"
  title = (
    f"{args.model} {args.attn} ×{args.scale}, {plan.batch_size}×{size}×{size},"
    f" {plan.dtype}: {total:.2f} ms of {len(found)} operations per {what}"
  )
  heads = ["operation", "ms", "share", "times", "layer"]
  print(Table(title, heads, rows).text())
  if args.output:
    report = {
      "device": jax.devices()[0].device_kind,
      "operations": {
        name: {**row, "layer": layers.get(name, "")} for name, row in ranked
      },
    }
    write_atomically(Path(args.output), json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
  running.run(main)
