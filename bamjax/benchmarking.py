"""Speed of networks, measured as in the BAM paper (eq. 7, figure 6).

FPS = frames / total inference time, batch 1, each frame awaited before the
next begins. Compilation is reported apart and warm-up is not counted. The
configurations that are compared take turns, round by round, so that a machine
that slows down slows them alike.
"""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
import itertools
import json
import math
from pathlib import Path
import platform
import time
from typing import Any

import flax
import jax
import jax.numpy as jnp
import jaxlib
import numpy as np

from bamjax.errors import UserError
from bamjax.models import registry

DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}
ROUNDS = 4
WARM_UP = 2


@dataclasses.dataclass(frozen=True)
class Plan:
  """What is timed: all combinations of the first four.

  Attributes:
    models: names of backbones.
    attns: attentions; "native" is the paper's control.
    scales: upscaling factors.
    sizes: sides of the square inputs, in pixels.
    frames: frames counted per configuration.
    dtype: dtype of the computation, by name.
  """

  models: Sequence[str]
  attns: Sequence[str] = ("native", "bam")
  scales: Sequence[int] = (2,)
  sizes: Sequence[int] = (60, 120)
  frames: int = 8
  dtype: str = "float32"

  def check(self) -> None:
    """Raises UserError if any combination can't be timed."""
    if self.dtype not in DTYPES:
      raise UserError(
        f"unknown dtype {self.dtype!r}; choose from {', '.join(DTYPES)}"
      )
    for name in ("models", "attns", "scales", "sizes"):
      if not getattr(self, name):
        raise UserError(f"no {name} given")
    if self.frames < 1:
      raise UserError(f"frames must be at least 1; got {self.frames}")
    for size in self.sizes:
      if size < 1:
        raise UserError(f"sizes must be at least 1; got {size}")
    for args in itertools.product(self.models, self.attns, self.scales):
      registry.create_model(*args)


def default_plan(backend: str | None = None) -> Plan:
  """Figure 6 of the paper on an accelerator; about a minute's work on a CPU.

  Args:
    backend: JAX's name of the platform; None takes the default one.
  """
  known = registry.list_models()
  if (backend or jax.default_backend()) == "cpu":
    return Plan(models=("imdn" if "imdn" in known else "pan",))
  models = tuple(name for name in ("imdn", "drln") if name in known)
  return Plan(
    models=models or ("pan",),
    scales=(2, 3, 4),
    sizes=tuple(range(60, 241, 20)),
    frames=700,
  )


def time_frames(
  step: Callable[[jax.Array], Any], frames: Iterable[jax.Array]
) -> list[float]:
  """Seconds of each call step(frame), its result awaited."""
  seconds = []
  for frame in frames:
    start = time.perf_counter()
    jax.block_until_ready(step(frame))
    seconds.append(time.perf_counter() - start)
  return seconds


def _random_weights(shapes: Any) -> Any:
  """Weights of a net's usual size, without compiling its initializers."""
  generator = np.random.default_rng(0)

  def draw(leaf):
    # Kernels are k×k×C_in×C_out; biases, slopes and scales are smaller.
    kernel = len(leaf.shape) == 4
    bound = 1 / math.sqrt(math.prod(leaf.shape[:3])) if kernel else 0.1
    return generator.uniform(-bound, bound, leaf.shape).astype(leaf.dtype)

  return jax.device_put(jax.tree.map(draw, shapes))


def compile_step(
  name: str, attn: str, scale: int, size: int, dtype: str
) -> tuple[Callable[[jax.Array], jax.Array], float]:
  """Compiles a network with random weights for one frame of size × size.

  Returns:
    A function from a frame, 1×size×size×3, to its super-resolved picture, and
    the seconds of its compilation.
  """
  module = registry.create_model(name, attn, scale, dtype=DTYPES[dtype])
  frame = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  variables = _random_weights(
    jax.eval_shape(module.init, jax.random.key(0), frame)
  )
  start = time.perf_counter()
  compiled = jax.jit(module.apply).lower(variables, frame).compile()
  elapsed = time.perf_counter() - start
  return lambda x: compiled(variables, x), elapsed


def _split(total: int, parts: int) -> list[int]:
  """Splits a count into at most `parts` nearly equal ones."""
  parts = min(total, parts)
  return [total // parts + (i < total % parts) for i in range(parts)]


def summarize(seconds: Sequence[float]) -> dict[str, float]:
  """The frame rate of eq. 7 and the distribution of the frames' times."""
  ms = 1000 * np.asarray(seconds)
  return {
    "frames": len(seconds),
    "total_s": float(np.sum(seconds)),
    "fps": len(seconds) / float(np.sum(seconds)),
    "ms_median": float(np.median(ms)),
    "ms_p50": float(np.percentile(ms, 50)),
    "ms_p90": float(np.percentile(ms, 90)),
  }


def compare(
  name: str,
  attns: Sequence[str],
  scale: int,
  size: int,
  frames: int,
  dtype: str = "float32",
) -> list[dict[str, Any]]:
  """Times one backbone with each attention, in interleaved rounds.

  Returns:
    A row for each attention.
  """
  steps, compile_s = {}, {}
  for attn in attns:
    steps[attn], compile_s[attn] = compile_step(name, attn, scale, size, dtype)
  keys = jax.random.split(jax.random.key(1), 4)
  shape = (1, size, size, 3)
  pool = [jax.block_until_ready(jax.random.uniform(k, shape)) for k in keys]
  for step in steps.values():
    time_frames(step, pool[:WARM_UP])
  seconds = {attn: [] for attn in attns}
  for i, count in enumerate(_split(frames, ROUNDS)):
    # Every other round backwards: none always runs right after another.
    for attn in attns if i % 2 == 0 else reversed(attns):
      batch = itertools.islice(itertools.cycle(pool), count)
      seconds[attn] += time_frames(steps[attn], batch)
  return [
    {
      "model": name,
      "attn": attn,
      "scale": scale,
      "size": size,
      "dtype": dtype,
      **summarize(seconds[attn]),
      "compile_s": compile_s[attn],
    }
    for attn in attns
  ]


def environment() -> dict[str, Any]:
  """The device and the versions that the figures belong to."""
  device = jax.devices()[0]
  return {
    "device": device.device_kind,
    "platform": device.platform,
    "host": platform.machine(),
    "python": platform.python_version(),
    "jax": jax.__version__,
    "jaxlib": jaxlib.__version__,
    "flax": flax.__version__,
  }


HEADER = (
  f"{'model':<14} {'attention':<13} {'scale':>5} {'input':>9} {'FPS':>9}"
  f" {'ms (p50)':>9} {'ms (p90)':>9} {'compile s':>9}"
)


def format_row(row: dict[str, Any]) -> str:
  """One line of the table under `HEADER`."""
  size = f"{row['size']}×{row['size']}"
  scale = f"×{row['scale']}"
  return (
    f"{row['model']:<14} {row['attn']:<13} {scale:>5} {size:>9}"
    f" {row['fps']:>9.2f} {row['ms_p50']:>9.2f} {row['ms_p90']:>9.2f}"
    f" {row['compile_s']:>9.2f}"
  )


def run(
  plan: Plan,
  output: Path | None = None,
  show: Callable[[str], None] = print,
) -> dict[str, Any]:
  """Times all of a plan, shows a table as it grows and writes it as JSON.

  Args:
    plan: what to time.
    output: the JSON file; None writes none.
    show: takes each line of the table.

  Returns:
    What the JSON file holds: `environment`, `flags` (the plan) and `rows`.

  Raises:
    UserError: the plan asks for something that does not exist.
  """
  plan.check()
  # A name given twice is timed once.
  attns = tuple(dict.fromkeys(plan.attns))
  result = {
    "environment": environment(),
    "flags": dataclasses.asdict(plan),
    "rows": [],
  }
  show(HEADER)
  combinations = itertools.product(
    *map(dict.fromkeys, (plan.models, plan.scales, plan.sizes))
  )
  for name, scale, size in combinations:
    rows = compare(name, attns, scale, size, plan.frames, plan.dtype)
    for row in rows:
      show(format_row(row))
    result["rows"] += rows
    if output:
      # After each, so that a run that is cut off leaves what it measured.
      output.parent.mkdir(parents=True, exist_ok=True)
      output.write_text(json.dumps(result, indent=2) + "\n")
  return result
