"""Worker processes: one cell each, so that a crash costs one cell."""

from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
from typing import Any

from bamjax.ablation.cell_states import Task
from bamjax.errors import UserError
from bamjax.runs import recipe as recipe_lib
from bamjax.runs.recipe import Recipe

_PACKAGE = Path(__file__).resolve().parents[1]
_VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclasses.dataclass(frozen=True)
class Workers:
  """How to start workers.

  Attributes:
    command: arguments of a process that reads a task as JSON from its standard
      input; see `bamjax.commands.ablation_worker`. -P keeps files of the
      working folder, such as a random.py, from being imported.
  """

  command: Sequence[str] = (
    *(sys.executable, "-P"),
    *("-m", "bamjax.commands.ablation_worker"),
  )

  def start(
    self, task: Task, environment: Mapping[str, str]
  ) -> subprocess.Popen:
    """Starts the work on a cell; stdout and stderr are one pipe of text."""
    process = subprocess.Popen(
      [*self.command, "--mode=cell"],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      encoding="utf-8",
      errors="replace",
      env={**_environment(), **environment},
      # Ctrl-C reaches this process alone, which passes it on once.
      start_new_session=True,
    )
    assert process.stdin is not None
    try:
      process.stdin.write(json.dumps(dataclasses.asdict(task)))
      process.stdin.close()
    except BrokenPipeError:
      pass  # it ended at once; its output says why
    return process

  def step_seconds(self, configs: Sequence[Recipe]) -> list[float]:
    """Measures the seconds of a training step of each configuration.

    Raises:
      UserError: the measurement failed.
    """
    given = [recipe_lib.to_dict(config) for config in configs]
    return self._ask("step_seconds", given, {})

  def machine(self) -> dict[str, Any]:
    """Describes what workers run on, as far as it affects a step's time.

    Raises:
      UserError: JAX finds no device.
    """
    return self._ask("devices", None, {})

  def slots(self) -> list[dict[str, str]]:
    """Environments for workers that may run at the same time: one per GPU."""
    if not shutil.which("nvidia-smi"):
      return [{}]
    found = self.machine()
    if found["platform"] != "gpu" or found["count"] < 2:
      return [{}]
    names = [n for n in os.environ.get(_VISIBLE, "").split(",") if n]
    names = names or [str(i) for i in range(found["count"])]
    return [{_VISIBLE: name} for name in names]

  def _ask(self, mode: str, given: Any, environment: Mapping[str, str]) -> Any:
    done = subprocess.run(
      [*self.command, f"--mode={mode}"],
      input=json.dumps(given),
      capture_output=True,
      text=True,
      encoding="utf-8",
      errors="replace",
      env={**_environment(), **environment},
    )
    if done.returncode:
      raise UserError(reason(done.stderr.splitlines(), done.returncode))
    return json.loads(done.stdout.splitlines()[-1])


def _environment() -> dict[str, str]:
  """That of this process; finds bamjax, and writes lines as they come."""
  paths = [str(_PACKAGE.parent), os.environ.get("PYTHONPATH", "")]
  return {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    "PYTHONUNBUFFERED": "1",
    "PYTHONIOENCODING": "utf-8",
  }


def reason(lines: Sequence[str], status: int) -> str:
  """Why a worker failed: its last line, without the script's name."""
  last = next((line for line in reversed(lines) if line.strip()), "")
  message = last.partition(": error: ")[2] or last
  return message or f"the worker ended with exit status {status}"
