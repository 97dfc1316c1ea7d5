"""Work on one cell of an ablation: `bamjax ablate` starts these processes.

python -m bamjax.commands.ablation_worker --mode=cell < TASK.json
"""

import dataclasses
import json
import os
import signal
import sys
import threading
import time
from typing import Any

from bamjax.commands import cli
from bamjax.commands.options import option
from bamjax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Options:
  """What to do with the JSON on standard input."""

  mode: str = option(
    "cell",
    "cell trains and scores one; step_seconds times training steps of a list of"
    " configurations; devices counts devices",
    choices=("cell", "step_seconds", "devices"),
  )


def run(options: Options) -> None:
  """Does what the mode says; prints the answer as the last line.

  Raises:
    UserError: the input is no JSON, or the work failed.
  """
  try:
    given = json.load(sys.stdin)
  except ValueError as error:
    raise UserError(f"standard input is not JSON: {error}") from None
  if options.mode == "cell":
    from bamjax.ablation import cell_work
    from bamjax.ablation.cell_states import Task

    threading.Thread(target=_follow_parent, daemon=True).start()
    cell_work.run(Task(**given))
  elif options.mode == "step_seconds":
    print(json.dumps(_step_seconds(given)))
  else:
    print(json.dumps(_devices()))


def _follow_parent() -> None:
  """Stops this process, after a checkpoint, if the one that started it dies."""
  parent = os.getppid()
  while os.getppid() == parent:
    time.sleep(1)
  os.kill(os.getpid(), signal.SIGTERM)


def _devices() -> dict[str, Any]:
  import jax

  from bamjax.benchmarking import machine

  found = machine.environment()
  names = "device", "platform", "host", "jax", "matmul_precision"
  return {
    **{name: found[name] for name in names},
    "count": jax.local_device_count(),
  }


def _step_seconds(configs: list[dict[str, Any]]) -> list[float]:

  from bamjax.ablation import cell_work
  from bamjax.runs.recipe import from_dict

  return cell_work.step_seconds([*map(from_dict, configs)])


if __name__ == "__main__":
  cli.run_module(sys.modules[__name__], "ablation worker", sys.argv[1:])
